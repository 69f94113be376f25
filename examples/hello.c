/* hello.c - ask a model something and stream its answer.
 *     cc hello.c $(pkg-config --cflags --libs glia) -o hello && ./hello MODEL 'Hello!' */
#include <glia.h>
#include <stdio.h>
#include <string.h>

static void on_event(void *user, const glia_event *e) {
    (void)user;
    if (!e->thinking) fwrite(e->text, 1, e->text_len, stdout);
}

int main(int argc, char **argv) {
    char chat[4096], *prompt = NULL;
    int32_t *ids = NULL;
    size_t n, left = 1;
    glia_model *model = NULL;
    glia_engine *engine = NULL;
    glia_sampling sampling;
    glia_err err = {0};
    if (argc != 3 || strpbrk(argv[2], "\"\\")) return 2; /* a real program escapes JSON */
    snprintf(chat, sizeof chat,
             "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}], "
             "\"add_generation_prompt\": true}",
             argv[2]);
    if (glia_model_load(&model, argv[1], NULL, NULL, &err) == GLIA_OK &&
        glia_engine_create(&engine, model, NULL, &err) == GLIA_OK &&
        glia_render_chat(model, chat, NULL, NULL, &prompt, &err) == GLIA_OK &&
        glia_tokenize(model, prompt, strlen(prompt), false, &ids, &n, &err) == GLIA_OK) {
        glia_sampling_defaults(model, &sampling);
        sampling.max_tokens = 256;
        glia_engine_submit(engine, ids, n, &sampling, on_event, NULL, NULL, &err);
        while (!err.status && left) glia_engine_step(engine, &left, &err);
    }
    if (err.status) fprintf(stderr, "hello: %s\n", err.msg);
    glia_engine_free(engine);
    glia_model_free(model);
    glia_free(prompt);
    glia_free(ids);
    return err.status != GLIA_OK;
}
