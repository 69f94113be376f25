#!/usr/bin/env python3
"""Write src/jinja/unicode_tables.h: what Python knows of characters and
utf8proc does not tell. Needs a Python whose Unicode version is utf8proc's (14:
Python 3.11).

    python3.11 tools/gen_unicode_tables.py > src/jinja/unicode_tables.h
"""
import unicodedata

chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(name, test):
    rows = []
    for c in map(ord, filter(test, chars)):
        if rows and rows[-1][1] == c - 1:
            rows[-1][1] = c
        else:
            rows.append([c, c])
    table(f"static const jspan {name}[]", [f"{{0x{a:x}, 0x{b:x}}}" for a, b in rows])


def special(name, change):
    rows = [[ord(c)] + [ord(x) for x in change(c)] for c in chars if len(change(c)) > 1]
    table(f"static const jspecial {name}[]",
          ["{" + f"0x{r[0]:x}, {{" + ", ".join(f"0x{x:x}" for x in r[1:]) + "}}" for r in rows])


def table(head, rows):
    print(f"{head} = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) > 105:
            print(line)
            line = "   "
        line += f" {row},"
    print(line + "\n};\n")


category = unicodedata.category
print(f"/* unicode_tables.h - made by tools/gen_unicode_tables.py, Unicode {unicodedata.unidata_version}. */\n"
      "#ifndef GLIA_JINJA_UNICODE_TABLES_H\n#define GLIA_TEXT_JINJA_UNICODE_TABLES_H\n\n"
      "/* clang-format off */\n"
      "/* Lower case, upper case, digits and numerals outside Ll, Lu, Nd and Nd Nl No. */")
ranges("other_lower", lambda c: c.islower() and category(c) != "Ll")
ranges("other_upper", lambda c: c.isupper() and category(c) != "Lu")
ranges("other_digit", lambda c: c.isdigit() and category(c) != "Nd")
ranges("other_numeric", lambda c: c.isnumeric() and category(c) not in ("Nd", "Nl", "No"))
print("/* Letters whose other case is more than one letter. */")
special("special_upper", str.upper)
special("special_title", str.title)
print("/* clang-format on */\n\n#endif")
