#!/usr/bin/env python3
"""Write tests/golden/jinja.jsonl: small templates, and what real Jinja2 makes of
them in the environment that transformers gives chat templates.

    python3 tools/gen_template_goldens.py > tests/golden/jinja.jsonl

The cases are the lines of tests/golden/jinja.txt: an expression a line, to be
printed; or, between lines of "---", a whole template. Both see CONTEXT. The
clock stands at 2025-07-08 12:00:00. Needs transformers and jinja2.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import transformers
import transformers.utils.chat_template_utils as utils

CONTEXT = {
    "none_value": None, "yes": True, "no": False, "zero": 0, "i": 42, "neg": -7, "f": 2.5, "big": 1e100,
    "name": "Ada", "text": "The quick  brown\tfox\njumps over", "html": "<b>\"Fish\" & 'chips'</b>",
    "uni": "Straße ÉCOLE ﬁn Ωmega ΣΑΣ 中文 😀", "empty": "", "nums": [3, 1, 2, 3], "words": ["pear", "Apple", "fig"],
    "mixed": [1, "a", None, 2.5, True, [1, 2], {"k": "v"}],
    "user": {"name": "Bob", "age": 30, "tags": ["x", "y"], "items": "shadow", "nested": {"a": {"b": [10, 20]}}},
    "people": [{"name": "Cy", "age": 5, "city": "Rome"}, {"name": "al", "age": 50, "city": "oslo"},
               {"name": "Bea", "age": 5, "city": "Oslo"}, {"name": "dd", "age": 7}],
    "tree": [{"n": 1, "kids": [{"n": 2, "kids": []}, {"n": 3, "kids": [{"n": 4, "kids": []}]}]}],
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
                 {"role": "assistant", "content": None}],
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2025, 7, 8, 12, 0, 0)


utils.datetime = Clock


def line_of(error):
    """The line in the template where `error` was raised."""
    line, tb = getattr(error, "lineno", None), error.__traceback__
    while tb and not isinstance(error, SyntaxError):
        if tb.tb_frame.f_code.co_filename == "<template>":
            line = tb.tb_lineno
        tb = tb.tb_next
    return line


def render(template):
    try:
        compiled = utils._compile_jinja_template.__wrapped__(template)
        return {"rendered": compiled.render(**json.loads(json.dumps(CONTEXT)))}
    except Exception as error:  # any exception of the template's is a case
        message = error.message if isinstance(error, jinja2.TemplateSyntaxError) else str(error)
        if isinstance(error, SyntaxError) and not isinstance(error, jinja2.TemplateSyntaxError):
            return {"error": error.msg, "class": "SyntaxError", "line": None}  # its line is not the template's
        return {"error": message, "class": type(error).__name__, "line": line_of(error)}


def cases(path):
    block = None
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("---"):
            if block is not None:
                yield "\n".join(block)
            block = [] if block is None or line == "---" else None
        elif block is not None:
            block.append(line)
        elif line and not line.startswith("# "):
            yield "{{ " + line + " }}"


if __name__ == "__main__":
    source = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "jinja.txt"
    print(json.dumps({"made by": "tools/gen_template_goldens.py from tests/golden/jinja.txt",
                      "jinja2": jinja2.__version__, "transformers": transformers.__version__,
                      "python": sys.version.split()[0], "now": "2025-07-08T12:00:00", "context": CONTEXT},
                     ensure_ascii=False))
    for template in cases(source):
        print(json.dumps({"template": template, **render(template)}, ensure_ascii=False))
