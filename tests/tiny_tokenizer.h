/* tiny_tokenizer.h - a valid tokenizer.json of 260 tokens; tests change single values in it. */
#ifndef GLIA_TEST_TINY_TOKENIZER_H
#define GLIA_TEST_TINY_TOKENIZER_H

#include "base/buf.h"
#include "text/unicode.h"

/* Append the vocabulary: ids 0 to 255 are the bytes in GPT-2's spelling; then "ab",
 * "abc", and "\u0120a" (a space and an a). */
static inline void tiny_vocab(glia_buf *out) {
    unsigned other = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool plain = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        char spelled[4];
        glia_buf_puts(out, byte == '"' || byte == '\\' ? "\"\\" : "\"");
        glia_buf_add(out, spelled, glia_utf8_put(spelled, plain ? byte : other++));
        glia_buf_printf(out, "\":%u,", byte);
    }
    glia_buf_puts(out, "\"ab\":256,\"abc\":257,\"\\u0120a\":258");
}

/* The text of the file; the caller frees it. */
static inline char *tiny_tokenizer(void) {
    glia_buf out = {0};
    glia_buf_puts(&out,
                  "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":[{\"id\":259,"
                  "\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                  "\"normalized\":false,\"special\":true}],\n\"normalizer\":{\"type\":\"NFC\"},\n"
                  "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                  "\"trim_offsets\":true,\"use_regex\":true},\n"
                  "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
                  "{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],"
                  "\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[259],"
                  "\"tokens\":[\"<s>\"]}}},\n"
                  "\"decoder\":{\"type\":\"ByteLevel\"},\n"
                  "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                  "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                  "\"byte_fallback\":false,\"ignore_merges\":false,\n\"vocab\":{");
    tiny_vocab(&out);
    glia_buf_puts(&out, "},\n\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"],\"\\u0120 a\"]}}\n");
    return glia_buf_steal(&out);
}

#endif
