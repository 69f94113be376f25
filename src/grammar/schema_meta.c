/* schema_meta.c - the schemas that references to json-schema.org mean: what a schema of a draft may be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "grammar/schema.h"

#define S "{\"$ref\":\"#\"}"
#define LIST "{\"$ref\":\"#/$defs/list\"}"
#define MAP "{\"$ref\":\"#/$defs/map\"}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define TEXT "{\"type\":\"string\"}"
#define FLAG "{\"type\":\"boolean\"}"
#define NAMES "{\"type\":\"array\",\"items\":" TEXT ",\"uniqueItems\":true}"
#define KIND "{\"enum\":[\"array\",\"boolean\",\"integer\",\"null\",\"number\",\"object\",\"string\"]}"

/* Keywords that all drafts have. */
static const char common[] =
    "\"$defs\":{\"list\":{\"type\":\"array\",\"items\":" S ",\"minItems\":1},\"map\":{\"type\":\"object\","
    "\"additionalProperties\":" S "}},\"properties\":{\"$schema\":" TEXT ",\"$ref\":" TEXT
    ",\"$comment\":" TEXT ",\"title\":" TEXT ",\"description\":" TEXT ",\"type\":{\"anyOf\":[" KIND
    ",{\"type\":\"array\",\"items\":" KIND ",\"minItems\":1,\"uniqueItems\":true}]},\"multipleOf\":{"
    "\"type\":\"number\",\"exclusiveMinimum\":0},"
    "\"minimum\":{\"type\":\"number\"},\"maximum\":{\"type\":\"number\"},\"minLength\":" COUNT
    ",\"maxLength\":" COUNT ",\"pattern\":" TEXT ",\"format\":" TEXT ",\"minItems\":" COUNT
    ",\"maxItems\":" COUNT ",\"uniqueItems\":" FLAG ",\"minProperties\":" COUNT ",\"maxProperties\":" COUNT
    ",\"properties\":" MAP ",\"patternProperties\":" MAP ",\"definitions\":" MAP
    ",\"additionalProperties\":" S ",\"dependencies\":{\"type\":\"object\",\"additionalProperties\":"
    "{\"anyOf\":[" S "," NAMES "]}},\"allOf\":" LIST ",\"anyOf\":" LIST ",\"oneOf\":" LIST ",\"not\":" S;

/* Those of draft 4. */
static const char only_4[] = ",\"id\":" TEXT ",\"exclusiveMinimum\":" FLAG ",\"exclusiveMaximum\":" FLAG;
/* Those from draft 6 on. */
static const char from_6[] =
    ",\"$id\":" TEXT ",\"exclusiveMinimum\":{\"type\":\"number\"},\"exclusiveMaximum\":{\"type\":"
    "\"number\"},\"propertyNames\":" S ",\"contains\":" S ",\"examples\":{\"type\":\"array\"}";
/* Those from draft 7 on; draft 6 does not read them. */
static const char from_7[] =
    ",\"if\":" S ",\"then\":" S ",\"else\":" S ",\"readOnly\":" FLAG ",\"writeOnly\":" FLAG
    ",\"contentMediaType\":" TEXT ",\"contentEncoding\":" TEXT;
/* Those from 2019-09 on. */
static const char from_2019[] =
    ",\"$anchor\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z_][-A-Za-z0-9._]*$\"},\"$defs\":" MAP
    ",\"deprecated\":" FLAG ",\"minContains\":" COUNT ",\"maxContains\":" COUNT ",\"dependentSchemas\":" MAP
    ",\"dependentRequired\":"
    "{\"type\":\"object\",\"additionalProperties\":" NAMES "},\"unevaluatedItems\":" S
    ",\"unevaluatedProperties\":" S ",\"contentSchema\":" S;
static const char old_items[] = ",\"additionalItems\":" S ",\"items\":{\"anyOf\":[" S "," LIST "]}";
static const char new_items[] = ",\"items\":" S ",\"prefixItems\":" LIST;

static const struct {
    const char *uri;
    int draft;
} drafts[] = {{"json-schema.org/draft-04/schema", 4},
              {"json-schema.org/draft-06/schema", 6},
              {"json-schema.org/draft-07/schema", 7},
              {"json-schema.org/draft/2019-09/schema", 2019},
              {"json-schema.org/draft/2020-12/schema", 2020}};

static json_t *parse(int draft) {
    glia_buf out = {0};
    glia_buf_printf(
        &out, "{\"type\":%s,%s%s%s%s%s,\"enum\":{\"type\":\"array\"%s},\"required\":%s}}",
        draft < 6 ? "\"object\"" : "[\"object\",\"boolean\"]", common, draft < 6 ? only_4 : from_6,
        draft < 7 ? "" : from_7, draft < 2019 ? "" : from_2019, draft < 2020 ? old_items : new_items,
        draft < 7 ? ",\"minItems\":1,\"uniqueItems\":true" : "",
        draft < 6 ? "{\"type\":\"array\",\"items\":" TEXT ",\"minItems\":1,\"uniqueItems\":true}" : NAMES);
    json_t *meta = out.oom ? NULL : json_loadb(out.data, out.len, 0, NULL);
    glia_buf_free(&out);
    return meta;
}

json_t *glia_schema_meta(const char *uri) {
    const char *at = strncmp(uri, "https://", 8) == 0  ? uri + 8
                     : strncmp(uri, "http://", 7) == 0 ? uri + 7
                                                       : uri;
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++)
        if (strcmp(at, drafts[i].uri) == 0) return parse(drafts[i].draft);
    return NULL;
}
