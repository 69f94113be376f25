/* inspect.c - `glia inspect`: print the library's JSON, or lay it out for people.
 *
 * The layout does not depend on keys: an object becomes an indented list, and an array
 * of flat objects a table. A value whose key ends in "bytes" is also given in GB or MB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/commands.h"
#include "base/file.h"
#include "cli/common.h"

static bool is_list(const json_t *v) {
    return json_is_array(v) && json_array_size(v) > 0 && json_is_object(json_array_get(v, 0));
}

/* Whether it is a list of flat objects, each of which fits on a line. */
static bool is_table(const json_t *v) {
    const char *key;
    json_t *cell;
    if (!is_list(v)) return false;
    json_object_foreach(json_array_get(v, 0), key, cell) {
        if (json_is_object(cell) || is_list(cell)) return false;
    }
    return true;
}

static bool is_about_bytes(const char *key) {
    const size_t n = strlen(key);
    return n >= 5 && strcmp(key + n - 5, "bytes") == 0;
}

/* Append one value for people. */
static void put_value(glia_buf *b, const json_t *v) {
    if (json_is_string(v)) {
        glia_buf_puts(b, json_string_value(v));
    } else if (json_is_array(v)) {
        glia_buf_putc(b, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) glia_buf_puts(b, ", ");
            put_value(b, json_array_get(v, i));
        }
        glia_buf_putc(b, ']');
    } else {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        glia_buf_puts(b, text ? text : "?");
        free(text);
    }
}

static void put_bytes(glia_buf *b, double bytes) {
    if (bytes >= 1e9)
        glia_buf_printf(b, " (%.2f GB)", bytes * 1e-9);
    else if (bytes >= 1e4)
        glia_buf_printf(b, " (%.2f MB)", bytes * 1e-6);
}

static size_t cell_width(const json_t *v) {
    glia_buf b = {0};
    put_value(&b, v);
    const size_t n = b.len;
    glia_buf_free(&b);
    return n;
}

/* Append an array of objects as a table; the keys of the first object are its columns. */
static void put_table(glia_buf *b, const json_t *rows, int indent) {
    const char *key;
    json_t *first = json_array_get(rows, 0), *cell, *widths = json_object();
    json_object_foreach(first, key, cell) {
        size_t width = strlen(key);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *v = json_object_get(json_array_get(rows, i), key);
            if (v && cell_width(v) > width) width = cell_width(v);
        }
        json_object_set_new(widths, key, json_integer((json_int_t)width));
    }
    for (size_t i = 0; i <= json_array_size(rows); i++) {
        glia_buf_printf(b, "%*s", indent, "");
        json_object_foreach(first, key, cell) {
            const json_t *v = i ? json_object_get(json_array_get(rows, i - 1), key) : NULL;
            const size_t width = (size_t)json_integer_value(json_object_get(widths, key));
            const size_t used = i == 0 ? strlen(key) : v ? cell_width(v) : 0;
            if (json_is_number(cell)) glia_buf_printf(b, "%*s", (int)(width - used), "");
            if (i == 0)
                glia_buf_puts(b, key);
            else if (v)
                put_value(b, v);
            if (!json_is_number(cell)) glia_buf_printf(b, "%*s", (int)(width - used), "");
            glia_buf_puts(b, "  ");
        }
        while (b->len && b->data[b->len - 1] == ' ') b->len--;
        glia_buf_putc(b, '\n');
    }
    json_decref(widths);
}

static void put_object(glia_buf *b, json_t *object, int indent) {
    const char *key;
    json_t *v;
    int width = 0;
    json_object_foreach(object, key, v) {
        if (!json_is_object(v) && !is_list(v) && (int)strlen(key) > width) width = (int)strlen(key);
    }
    json_object_foreach(object, key, v) {
        if (is_list(v) || json_is_object(v)) {
            glia_buf_printf(b, "%s%*s%s:\n", indent ? "" : "\n", indent, "", key);
            if (is_table(v)) put_table(b, v, indent + 2);
            if (json_is_object(v)) put_object(b, v, indent + 2);
            for (size_t i = 0; is_list(v) && !is_table(v) && i < json_array_size(v); i++)
                put_object(b, json_array_get(v, i), indent + 2);
            continue;
        }
        glia_buf_printf(b, "%*s%-*s  ", indent, "", width, key);
        put_value(b, v);
        if (is_about_bytes(key) && json_is_number(v)) put_bytes(b, json_number_value(v));
        glia_buf_putc(b, '\n');
    }
}

/* Is MODEL the directory of a LoRA adapter? */
static bool is_adapter(const char *dir) {
    char *config = glia_path_join(dir, "adapter_config.json"), *model = glia_path_join(dir, "config.json");
    const bool is = config && model && glia_name_exists(config) && !glia_name_exists(model);
    free(config);
    free(model);
    return is;
}

int cli_inspect(const cli_args *args) {
    glia_options o;
    glia_engine_options engine;
    glia_err err = {0};
    char *text = NULL, *cache = cli_cache_dir();
    cli_options(args, &o, &engine);
    const bool settings = args->given[F_CONFIG];
    const glia_status status = is_adapter(args->model) ? glia_inspect_adapter(&text, args->model, &err)
                               : settings ? glia_inspect_config(&text, args->model, cache, &o, &err)
                                          : glia_inspect(&text, args->model, cache, &o, &err);
    free(cache);
    if (status) return cli_failed(&err);
    if (args->given[F_JSON]) {
        puts(text);
    } else {
        glia_buf b = {0};
        json_t *root = json_loads(text, 0, NULL);
        json_object_del(root, "neuron_config"); /* a whole file, which only --json prints */
        if (root) put_object(&b, root, 0);
        json_decref(root);
        if (b.len) fwrite(b.data, 1, b.len, stdout);
        glia_buf_free(&b);
    }
    glia_free(text);
    return EXIT_OK;
}
