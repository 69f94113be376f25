/* schema_format.c - the formats of JSON Schema as regular expressions of the string's text. */
#include <stdio.h>
#include <string.h>

#include "grammar/chars.h"
#include "grammar/schema.h"

/* RFC 3339, dates of the Gregorian calendar. */
#define DATE                                                                                                 \
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"    \
    "02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])" \
    "00)"                                                                                                    \
    "-02-29)"
#define CLOCK "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
#define PART "(?:\\.[0-9]+)?"
#define TIME CLOCK ":[0-5][0-9]" PART "(?:[Zz]|[+-]" CLOCK ")"
/* RFC 1123, at most 63 characters. A label with "--" as its third and fourth is refused: "xn--" begins one
 * that must be valid Punycode. */
#define X "[A-Za-z0-9]"
#define Y "[A-Za-z0-9-]"
#define LABEL "(?:" X "(?:|" X "|" Y X "|" Y Y X "|" Y "(?:" Y X "|" X "-)" Y "{0,58}" X "))"
#define HOSTNAME "(?=.{1,253}$)" LABEL "(?:\\." LABEL ")*"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                 \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16  \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32          \
    "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16    \
    ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
/* RFC 3986; U: the characters beyond ASCII of RFC 3987. */
#define UCS "\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef\\u{10000}-\\u{efffd}"
#define PCHAR(U) "(?:[A-Za-z0-9._~!$&'()*+,;=:@" U "-]|%[0-9A-Fa-f]{2})"
#define LITERAL "\\[(?:" IPV6 "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]"
#define AUTHORITY(U)                                                                                         \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:" U "-]|%[0-9A-Fa-f]{2})*@)?"                                            \
    "(?:" LITERAL "|(?:[A-Za-z0-9._~!$&'()*+,;=" U "-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
#define QUERY(U) "(?:\\?(?:" PCHAR(U) "|[/?])*)?"
#define FRAGMENT(U) "(?:#(?:" PCHAR(U) "|[/?])*)?"
#define URI(U)                                                                                               \
    "[A-Za-z][A-Za-z0-9+.-]*:(?://" AUTHORITY(U) "(?:/" PCHAR(U) "*)*|/(?:" PCHAR(U) "+(?:/" PCHAR(          \
        U) "*)*)?|" PCHAR(U) "+(?:/" PCHAR(U) "*)*|)" QUERY(U) FRAGMENT(U)
#define PCHAR_NO_COLON(U) "(?:[A-Za-z0-9._~!$&'()*+,;=@" U "-]|%[0-9A-Fa-f]{2})"
#define RELATIVE(U)                                                                                          \
    "(?://" AUTHORITY(U) "(?:/" PCHAR(U) "*)*|/(?:" PCHAR(U) "+(?:/" PCHAR(U) "*)*)?|" PCHAR_NO_COLON(       \
        U) "+(?:/" PCHAR(U) "*)*|)" QUERY(U) FRAGMENT(U)
#define POINTER "(?:/(?:[^~/]|~[01])*)*"
#define VARSPEC                                                                                              \
    "(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})(?:\\.?(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(?::[1-9][0-9]{0,3}|\\*)?"

static const struct {
    const char *name, *pattern;
    bool exact; /* false: the pattern is narrower than the format */
} formats[] = {
    {"date", DATE, true},
    {"time", TIME, true},
    {"date-time", DATE "[Tt]" TIME, true},
    {"duration",
     "P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T(?:[0-9]+H(?:[0-9]+M(?:["
     "0-9]+S)?)?|"
     "[0-9]+M(?:[0-9]+S)?|[0-9]+S))?|T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))",
     true},
    {"email",
     "(?:" ATOM "(?:\\." ATOM ")*|\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\")@(?:" LABEL "(?:\\." LABEL
     ")*|\\[(?:" IPV4 "|IPv6:" IPV6 ")\\])",
     false},
    {"hostname", HOSTNAME, false},
    {"ipv4", IPV4, true},
    {"ipv6", IPV6, true},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}", true},
    {"uri", URI(""), false},
    {"uri-reference", "(?:" URI("") "|" RELATIVE("") ")", false},
    {"iri", URI(UCS), false},
    {"iri-reference", "(?:" URI(UCS) "|" RELATIVE(UCS) ")", false},
    {"uri-template",
     "(?:[!#$&(-;=?-\\[\\]_a-z~]|%[0-9A-Fa-f]{2}|\\{[+#./;?&=,!@|]?" VARSPEC "(?:," VARSPEC ")*\\})*", false},
    {"json-pointer", POINTER, true},
    {"relative-json-pointer", "(?:0|[1-9][0-9]*)(?:#|" POINTER ")", true},
};

/* Leap seconds: 23:59:60 in UTC, at offsets of whole quarters of an hour. */
static glia_rx leap_seconds(glia_schema *s) {
    glia_rx list[2 * 96 + 1], part = GLIA_RX_NONE;
    size_t n = 0;
    glia_rx_parse(&part, s->rx, PART, strlen(PART), GLIA_SPELL_JSON, false, "format", NULL);
    for (int minutes = 0; minutes < 1440; minutes += 15)
        for (int sign = 1; sign >= -1; sign -= 2) {
            const int local = (1439 + 1440 + sign * minutes) % 1440;
            char clock[16], offset[16];
            const int a = snprintf(clock, sizeof clock, "%02d:%02d:60", local / 60 % 24, local % 60);
            const int b = snprintf(offset, sizeof offset, "%c%02d:%02d", sign > 0 ? '+' : '-',
                                   minutes / 60 % 24, minutes % 60);
            list[n++] = glia_rx_cat3(s->rx, glia_rx_text(s->rx, clock, (size_t)a), part,
                                     glia_rx_text(s->rx, offset, (size_t)b));
        }
    const glia_rx utc = glia_rx_or(s->rx, glia_rx_range(s->rx, 'Z', 'Z'), glia_rx_range(s->rx, 'z', 'z'));
    list[n++] = glia_rx_cat3(s->rx, glia_rx_text(s->rx, "23:59:60", 8), part, utc);
    return glia_rx_or_all(s->rx, list, n);
}

glia_rx glia_schema_format(glia_schema *s, const char *name, bool *exact) {
    const glia_rx quote = glia_rx_range(s->rx, '"', '"');
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(name, formats[i].name)) continue;
        glia_rx e = GLIA_RX_NONE;
        const char *pattern = formats[i].pattern;
        *exact = formats[i].exact;
        glia_err err;
        if (glia_rx_parse(&e, s->rx, pattern, strlen(pattern), GLIA_SPELL_JSON, false, "format", &err)) {
            glia_schema_fail(s, err.status, "%s", err.msg);
            return GLIA_RX_NONE;
        }
        if (strcmp(name, "time") == 0) e = glia_rx_or(s->rx, e, leap_seconds(s));
        if (strcmp(name, "date-time") == 0) {
            glia_rx date = GLIA_RX_NONE;
            glia_rx_parse(&date, s->rx, DATE "[Tt]", strlen(DATE "[Tt]"), GLIA_SPELL_JSON, false, "format",
                          NULL);
            e = glia_rx_or(s->rx, e, glia_rx_cat(s->rx, date, leap_seconds(s)));
        }
        return glia_rx_cat3(s->rx, quote, e, quote);
    }
    return GLIA_RX_NONE;
}
