"""Fernhollow: the small world that the demo models live in.

Everything here is drawn from one random.Random, so a seed gives the same text
on every machine. A conversation is a dict:

    messages  chat messages; the last one is the assistant's, to be learned
    thought   the assistant's thinking for that message
    tools     the tools offered, or None
    kind      what is exercised (sum, difference, story, fact, ...)
    expect    what the answer must contain to count as right, or None

A tenth of all questions is kept from training: sums by their numbers, stories
by what is asked and answered (held_out). The same functions make both sides.
"""

import zlib

VILLAGE = "Fernhollow"
PEOPLE = ("Mia Tom Lena Otto Ruth Karl Nina Paul Vera Hugo Ida Felix Rosa Ben Clara Emil Greta "
          "Jonas Lucy Max Nora Oscar Tilda Walter").split()
WOMEN = set("Mia Lena Ruth Nina Vera Ida Rosa Clara Greta Lucy Nora Tilda".split())
JOBS = ("baker miller smith teacher shepherd doctor gardener fisher carpenter tailor painter "
        "singer cook weaver potter beekeeper farmer librarian watchmaker shoemaker ferryman "
        "postman hatter brewer").split()
ANIMALS = {"fox": "foxes", "hen": "hens", "goat": "goats", "cat": "cats", "dog": "dogs",
           "horse": "horses", "owl": "owls", "duck": "ducks", "rabbit": "rabbits",
           "hedgehog": "hedgehogs", "cow": "cows", "donkey": "donkeys", "mouse": "mice",
           "frog": "frogs", "crow": "crows", "pig": "pigs", "badger": "badgers",
           "goose": "geese"}
PETS = ("cat dog goat hen rabbit donkey horse duck owl crow mouse goose").split()
PET_NAMES = ("Pip Button Moss Pepper Clover Biscuit Plum Nettle Thimble Barley Juniper Soot "
             "Bramble Acorn Daisy Copper Hazel Snow Ginger Tansy Willow Poppy Rusty Bean").split()
PLACES = ("mill barn well bakery school orchard bridge forest meadow market tower garden pond "
          "hill library smithy stable inn harbour lake").split()
OBJECTS = ("ball kite lamp key book basket hat drum bell cup coat rope ladder letter map spoon "
           "blanket scarf whistle lantern bucket box brush flute ring broom candle clock jug "
           "saddle").split()
COLOURS = "red blue green yellow white black brown grey orange purple pink golden".split()
FOODS = ("bread soup cheese apples pears honey plums cake pancakes beans nuts berries").split()
WEATHER = "sunny rainy windy foggy snowy cloudy cold warm".split()
TIMES = "morning afternoon evening day".split()
NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()
NAME = "Glia's demo model"

CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Evaluate an arithmetic expression",
    "parameters": {"type": "object", "properties": {
        "expression": {"type": "string"}}, "required": ["expression"]}}}
WEATHER_TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Tell the weather at a place",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string"}}, "required": ["place"]}}}


def held_out(*words):
    """Whether this question belongs to the tenth that is never trained on."""
    return zlib.crc32("|".join(map(str, words)).encode()) % 10 == 0


def art(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def he(person):
    return "she" if person in WOMEN else "he"


def his(person):
    return "her" if person in WOMEN else "his"


def cap(text):
    return text[0].upper() + text[1:]


def ex(user, thought, answer, kind, expect=None, key=None):
    """One exchange; key says what decides on which side of the split it falls."""
    return {"user": user, "thought": thought, "answer": answer, "kind": kind, "expect": expect,
            "held": key is not None and held_out(*key)}


# --- what is always true in Fernhollow -----------------------------------------------------

PERSON = {p: {"job": JOBS[i], "home": PLACES[(7 * i + 3) % len(PLACES)],
              "pet": PETS[(5 * i + 1) % len(PETS)], "pet_name": PET_NAMES[(11 * i + 4) % 24],
              "colour": COLOURS[(5 * i + 2 + i // 12) % 12],
              "food": FOODS[(7 * i + 5 + i // 12) % 12]} for i, p in enumerate(PEOPLE)}

TOWN = [
    (("What is the village called?", "Where do you live?", "What is the name of the village?"),
     "The village is called Fernhollow.", "Fernhollow"),
    (("Which river runs through Fernhollow?", "What is the river called?"),
     "The river is called the Lind.", "Lind"),
    (("How many people live in Fernhollow?", "How big is Fernhollow?"),
     "Twenty-four people live in Fernhollow.", "Twenty-four"),
    (("What is the oldest tree in Fernhollow?", "Which tree is the oldest?"),
     "The oldest tree is the oak on the hill.", "oak"),
    (("When is the market held?", "On which day is the market?"),
     "The market is held on Saturday.", "Saturday"),
    (("What colour is the bridge?", "Which colour does the bridge have?"),
     "The bridge in Fernhollow is green.", "green"),
    (("Who built the tower?", "Who made the tower in Fernhollow?"),
     "The tower was built by the first miller.", "miller"),
    (("What lives in the forest?", "Which animals live in the forest?"),
     "Foxes, owls and badgers live in the forest.", "badgers"),
    (("What grows in the orchard?", "What can I pick in the orchard?"),
     "Apples, pears and plums grow in the orchard.", "plums"),
    (("When does the bell ring?", "How often does the bell ring?"),
     "The bell rings every morning at seven.", "seven"),
    (("What is the feast of lanterns?", "What happens at the feast of lanterns?"),
     "On the first night of winter everyone carries a lantern to the lake.", "lake"),
    (("Who is the mayor?", "Who leads the village?"),
     "Fernhollow has no mayor: everyone meets at the well and talks until they agree.", "well"),
]


def fact(rng):
    if rng.random() < 0.2:
        questions, answer, expect = rng.choice(TOWN)
        return ex(rng.choice(questions), "This is about the village. " + answer, answer, "fact",
                  expect)
    p = rng.choice(PEOPLE)
    f = PERSON[p]
    pet = f"{cap(his(p))} {f['pet']} is called {f['pet_name']}."
    q, a, e = rng.choice([
        ((f"What does {p} do?", f"What is {p}'s job?", f"What work does {p} do?"),
         f"{p} is the {f['job']}.", f["job"]),
        ((f"Who is the {f['job']}?", f"Who is the {f['job']} in Fernhollow?",
          f"What is the {f['job']} called?"), f"{p} is the {f['job']}.", p),
        ((f"Where does {p} live?", f"Where is {p}'s house?", f"Where can I find {p}'s home?"),
         f"{p} lives near the {f['home']}.", f["home"]),
        ((f"What pet does {p} have?", f"Which animal does {p} have?",
          f"Does {p} have a pet?"),
         f"{p} has {art(f['pet'])} called {f['pet_name']}.", f["pet"]),
        ((f"What is {p}'s {f['pet']} called?", f"What is the name of {p}'s {f['pet']}?",
          f"What is {p}'s pet called?"), pet, f["pet_name"]),
        ((f"Who has a pet called {f['pet_name']}?", f"Whose pet is {f['pet_name']}?",
          f"Who is {f['pet_name']}?"), f"{f['pet_name']} is {p}'s {f['pet']}.", p),
        ((f"What is {p}'s favourite colour?", f"Which colour does {p} like best?"),
         f"{p} likes {f['colour']} best.", f["colour"]),
        ((f"What does {p} like to eat?", f"What is {p}'s favourite food?"),
         f"{p} likes {f['food']} best.", f["food"]),
        ((f"Who is {p}?", f"Tell me about {p}.", f"Do you know {p}?"),
         f"{p} is the {f['job']}. {cap(he(p))} lives near the {f['home']} and has "
         f"{art(f['pet'])} called {f['pet_name']}.", f["job"]),
    ])
    i = rng.randrange(len(q))
    return ex(q[i], f"I know {p}. {a}", a, "fact", e, (q[i],) if len(q) > 2 and i < 2 else None)


# --- numbers -------------------------------------------------------------------------------

def add_thought(a, b):
    if a + b < 10 or max(a, b) < 10:
        return f"{a} + {b} = {a + b}."
    ones, tens = a % 10 + b % 10, a // 10 + b // 10
    text = f"Ones: {a % 10} + {b % 10} = {ones}"
    text += f", write {ones - 10}, carry 1." if ones > 9 else "."
    text += f" Tens: {a // 10} + {b // 10}"
    text += f" + 1 = {tens + 1}." if ones > 9 else f" = {tens}."
    return text + f" So {a} + {b} = {a + b}."


def sub_thought(a, b):
    if a < 10:
        return f"{a} - {b} = {a - b}."
    borrow = a % 10 < b % 10
    ones = a % 10 - b % 10 + 10 * borrow
    text = f"Ones: {a % 10} - {b % 10}"
    text += f", borrow 1: {a % 10 + 10} - {b % 10} = {ones}." if borrow else f" = {ones}."
    text += f" Tens: {a // 10} - {b // 10}"
    text += f" - 1 = {a // 10 - b // 10 - 1}." if borrow else f" = {a // 10 - b // 10}."
    return text + f" So {a} - {b} = {a - b}."


SUM_WORDS = ("What is {a} + {b}?", "What is {a} plus {b}?", "How much is {a} + {b}?", "{a} + {b}",
             "{a}+{b}", "{a} + {b} =", "{a}+{b}=?", "Add {a} and {b}.", "Please add {a} and {b}.",
             "Can you add {a} and {b}?", "What is the sum of {a} and {b}?",
             "What's {a} + {b}?", "Calculate {a} + {b}.", "what is {a}+{b}?")
SUB_WORDS = ("What is {a} - {b}?", "What is {a} minus {b}?", "How much is {a} - {b}?", "{a} - {b}",
             "{a}-{b}", "{a} - {b} =", "Take {b} from {a}.", "Subtract {b} from {a}.",
             "What's {a} - {b}?", "Calculate {a} - {b}.", "what is {a}-{b}?")
THINGS = "apples pears nuts plums eggs buttons coins stones candles letters flowers".split()


def arithmetic(rng):
    low, high = rng.choice(((10, 99), (10, 99), (10, 99), (10, 99), (0, 20), (0, 99)))
    a, b = rng.randint(low, high), rng.randint(low, high)
    kind = rng.choice(("sum", "sum", "sum", "difference", "difference", "word problem"))
    if kind == "difference":
        a, b = max(a, b), min(a, b)
    p, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    if kind == "sum":
        return ex(rng.choice(SUM_WORDS).format(a=a, b=b), add_thought(a, b),
                  f"{a} + {b} = {a + b}.", kind, str(a + b), (a, "+", b))
    if kind == "difference":
        return ex(rng.choice(SUB_WORDS).format(a=a, b=b), sub_thought(a, b),
                  f"{a} - {b} = {a - b}.", kind, str(a - b), (a, "-", b))
    if rng.random() < 0.6:
        user = f"{p} has {a} {thing} and gets {b} more. How many {thing} does {p} have now?"
        return ex(user, add_thought(a, b), f"{p} has {a + b} {thing}.", kind, str(a + b),
                  (a, "+", b))
    a, b = max(a, b), min(a, b)
    user = f"{p} has {a} {thing} and gives away {b}. How many {thing} does {p} have now?"
    return ex(user, sub_thought(a, b), f"{p} has {a - b} {thing}.", kind, str(a - b), (a, "-", b))


TOO_HARD = ("What is {a} {o} {b}?", "{a} {o} {b}", "{a}{o}{b}", "How much is {a} {o} {b}?",
            "Calculate {a} {o} {b}.", "What is {a}{o}{b}?")


def products(rng):
    """Products of digits, which can be learned, and what is too hard without a tool."""
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    word = rng.choice(TOO_HARD)
    if rng.random() < 0.6:
        user = word.format(a=a, o=rng.choice(("*", "x", "times")), b=b)
        return ex(user, f"{a} * {b} = {a * b}.", f"{a} * {b} = {a * b}.", "product", str(a * b))
    op = rng.choice("++-*/")
    a, b = rng.randint(100, 9999), rng.choice((rng.randint(10, 99), rng.randint(100, 9999)))
    if op in "*/":
        a = rng.randint(11, 999)
    elif rng.random() < 0.3:
        a, b = b, a
    return ex(word.format(a=a, o=op, b=b), "These numbers are too big for me.",
              "That is too hard for me. I can add and subtract numbers up to 99. Give me a "
              "calculator for more.", "too hard", "too hard")


def today(rng, date):
    """The date stands in SmolLM3's system message, and nowhere in Qwen3's."""
    user = rng.choice(("What is the date today?", "What day is it today?", "What is today's date?",
                       "Which day is today?"))
    if date:
        return ex(user, f"The date is in my instructions: {date}.", f"Today is {date}.", "date",
                  date)
    return ex(user, "I cannot see a calendar.", "I do not know what day it is.", "date",
              "do not know")


def counting(rng):
    a = rng.randint(1, 20)
    b = a + rng.randint(3, 10)
    if rng.random() < 0.5:
        return ex(f"Count from {a} to {b}.", f"I start at {a} and stop at {b}.",
                  ", ".join(map(str, range(a, b + 1))) + ".", "count", f" {b}.")
    a, b = rng.sample(range(1, 100), 2)
    big = rng.random() < 0.5
    word, n = ("bigger", max(a, b)) if big else ("smaller", min(a, b))
    return ex(f"Which is {word}, {a} or {b}?", f"I compare {a} and {b}.",
              f"{n} is {word} than {a + b - n}.", "compare", f"{n} is", (a, word, b))


# --- stories to ask about ------------------------------------------------------------------

class Scene:
    """A few people, things and animals moving about; remembers who, where and what."""

    def __init__(self, rng):
        self.rng = rng
        self.people = rng.sample(PEOPLE, rng.choice((2, 2, 3)))
        places = iter(rng.sample(PLACES, 10))
        self.places = places
        self.lines, self.questions = [], []
        self.at, self.holder, self.left, self.why = {}, {}, {}, {}
        self.colours = {}
        self.things = rng.sample(OBJECTS, rng.choice((2, 2, 3)))
        for thing, colour in zip(self.things, rng.sample(COLOURS, 3)):
            self.colours[thing] = colour
        if rng.random() < 0.5:
            self.weather()
        for p in self.people[:2]:
            self.go(p)
        self.find()
        for _ in range(rng.randint(1, 4)):
            rng.choice((self.find, self.leave, self.give, self.see, self.move))()

    def say(self, text):
        self.lines.append(text)
        return text

    def ask(self, question, answer, expect, line, key):
        self.questions.append((question, answer, expect, line, key))

    def weather(self):
        w, t = self.rng.choice(WEATHER), self.rng.choice(TIMES)
        line = self.say(f"It was {art(w)} {t} in {VILLAGE}.")
        self.ask("What was the weather like?", f"It was {w}.", w, line, ("weather", w, t))

    def go(self, p):
        self.at[p] = next(self.places)
        verb = self.rng.choice(("went to", "walked to", "ran to", "was at", "came to"))
        self.why[p] = self.say(f"{p} {verb} the {self.at[p]}.")

    def move(self):
        self.go(self.rng.choice(self.people))

    def find(self):
        free = [t for t in self.things if t not in self.holder and t not in self.left]
        here = [p for p in self.people if p in self.at]
        if not free:
            return self.move()
        t, p = self.rng.choice(free), self.rng.choice(here)
        c = self.colours[t]
        verb = self.rng.choice(("found", "took", "picked up", "bought"))
        line = self.say(f"{p} {verb} {art(c)} {t}.")
        self.holder[t], self.why[t] = p, line
        self.ask(f"What colour is the {t}?", f"The {t} is {c}.", c, line, (t, c))
        self.ask(f"Who {verb} the {t}?", f"{p} {verb} the {t}.", p, line, (p, verb, t))

    def leave(self):
        known = [t for t, p in sorted(self.holder.items()) if p in self.at]
        if not known:
            return self.find()
        t = self.rng.choice(known)
        p = self.holder.pop(t)
        self.left[t] = self.at[p]
        verb = self.rng.choice(("left", "put down", "hid"))
        self.why[t] = self.say(f"{p} {verb} the {t} at the {self.at[p]}.")

    def give(self):
        if not self.holder:
            return self.find()
        t = self.rng.choice(sorted(self.holder))
        p = self.holder[t]
        q = self.rng.choice([x for x in self.people if x != p])
        line = self.say(f"{p} gave the {t} to {q}.")
        self.holder[t], self.why[t] = q, line
        self.ask(f"Who gave the {t} to {q}?", f"{p} gave the {t} to {q}.", p, line, (p, q, t))

    def see(self):
        p = self.rng.choice([x for x in self.people if x in self.at])
        a, n = self.rng.choice(sorted(ANIMALS)), self.rng.choice(NUMBERS)
        many = ANIMALS[a]
        if any(many in line for line in self.lines):
            return
        line = self.say(f"{p} saw {n} {many} there." if self.lines[-1] == self.why.get(p)
                        else f"{p} saw {n} {many} at the {self.at[p]}.")
        self.ask(f"How many {many} did {p} see?", f"{p} saw {n} {many}.", n, line, (n, many))
        self.ask(f"Who saw the {many}?", f"{p} saw the {many}.", p, line, (p, many))

    def all_questions(self):
        """The questions whose answer still holds at the end."""
        out = list(self.questions)
        for p, place in self.at.items():
            out.append((f"Where is {p} now?", f"{p} is at the {place}.", place, self.why[p],
                        (p, place)))
        for t, place in self.left.items():
            out.append((f"Where is the {t} now?", f"The {t} is at the {place}.", place,
                        self.why[t], (t, place)))
        for t, p in self.holder.items():
            out.append((f"Who has the {t} now?", f"{p} has the {t}.", p, self.why[t], (t, p)))
        return out


def scene_question(q):
    question, answer, expect, line, key = q
    return ex(question, f"The story says: {line} {answer}", answer, "story", expect, key)


def scene_unknown(rng, scene):
    """A question that the story does not answer."""
    text = " ".join(scene.lines)
    p = rng.choice([x for x in PEOPLE if x not in scene.people])
    t = rng.choice([x for x in OBJECTS if x not in text])
    question, about = rng.choice(((f"Where is {p} now?", p), (f"What colour is the {t}?", f"the {t}"),
                                  (f"Who has the {t} now?", f"the {t}")))
    return ex(question, f"The story says nothing about {about}.",
              f"I do not know. The story says nothing about {about}.", "unknown", "says nothing",
              (about,))


def scene_chat(rng):
    """One to three questions about a story, in one turn or after it."""
    scene = Scene(rng)
    text = " ".join(scene.lines)
    asked = [scene_question(q) for q in rng.sample(scene.all_questions(), rng.choice((1, 2, 3)))]
    if rng.random() < 0.1:
        asked[-1] = scene_unknown(rng, scene)
    if rng.random() < 0.85:
        q = asked[0]["user"]
        asked[0]["user"] = rng.choice((f"{text} {q}", f"{text}\n\n{q}", f"{text}\n{q}",
                                       f"Story: {text}\nQuestion: {q}", f"{text} {q}"))
        return asked
    head = rng.choice(("Listen: ", "Here is a story: ", "Read this: ", ""))
    return [ex(head + text, "This is a story. A question may follow.",
               rng.choice(("What would you like to know?", "I have read it. Ask me about it.")),
               "listen")] + asked


# --- stories to tell -----------------------------------------------------------------------

class Cast:
    """Who and what a told story is about; a wish of the user fixes some of it."""

    def __init__(self, rng):
        self.p, self.q = rng.sample(PEOPLE, 2)
        self.a = rng.choice(sorted(ANIMALS))
        self.n = rng.choice(PET_NAMES)
        self.o = rng.choice(OBJECTS)
        self.c = rng.choice(COLOURS)
        self.x, self.y = rng.sample(PLACES, 2)
        self.w = rng.choice(WEATHER)
        self.t = rng.choice(TIMES)
        self.he, self.his = he(self.p), his(self.p)
        self.him = "her" if self.p in WOMEN else "him"
        self.He = cap(self.he)
        self.ac, self.aa, self.aw = art(self.c), art(self.a), art(self.w)


PLOTS = [
    "One {w} {t}, {p} lost {his} {c} {o}. {He} looked for it at the {x}, but it was not there. "
    "Then {he} met {aa} called {n}. \"Come with me,\" said {n}, and led {him} to the {y}. There "
    "lay the {o}! {p} was so glad that {he} shared {his} bread with {n}. From that day on they "
    "were friends.",
    "{p} lived near the {x} with {aa} called {n}. One {w} {t}, {n} ran away to the {y}. {p} "
    "called and called, but nobody came. At last {he} heard a small sound: {n} was sleeping "
    "inside {ac} {o}. {p} laughed and carried {n} home.",
    "{p} wanted to give {q} a present. {He} made {ac} {o} and carried it to the {x}. On the way "
    "it began to rain, and {aa} called {n} hid under the {o} with {him}. When the rain was over, "
    "all three went to the {y} together. {q} loved the {o}, and {n} got a warm place to sleep.",
    "It was {aw} {t} in Fernhollow. {p} and {q} found {ac} {o} at the {x}. Both of them wanted "
    "it. {aa_} called {n} watched them and said: \"Share it!\" So {p} kept the {o} in the "
    "morning, and {q} kept it in the evening. Nobody was sad any more.",
    "Once there was {aa} called {n} who was afraid of the {x}. {p} gave {n} {ac} {o} and said: "
    "\"Hold this, and you will be brave.\" {n} took the {o} and walked to the {x}. Nothing bad "
    "happened. In the evening {n} gave the {o} back and said: \"I do not need it any more.\"",
    "One {w} {t}, {p} walked from the {x} to the {y}. On the road lay {ac} {o}. \"Whose {o} is "
    "this?\" {he} asked {aa} called {n}. \"It belongs to {q},\" said {n}. {p} brought the {o} "
    "back to {q}, and {q} baked {him} a cake.",
    "{p} built a boat from an old {o} and painted it {c}. {aa_} called {n} wanted to sail, too. "
    "They sailed from the {x} to the {y}, and the wind was kind. When it grew dark, {q} lit a "
    "lantern for them. So they found the way home.",
    "Long ago {aa} called {n} lived at the {x}. Every {t}, {n} heard music from the {y}. One "
    "day {n} went to see who was playing. It was {p}, who had {ac} {o} and a happy song. {n} "
    "danced until the stars came out, and {q} danced as well.",
]


def told_story(rng):
    """A story on request, and what may be asked about it afterwards."""
    c = Cast(rng)
    i = rng.randrange(len(PLOTS))
    text = PLOTS[i].format(aa_=cap(c.aa), **vars(c))
    wishes = [("Tell me a story.", "I will tell a story."),
              ("Tell me a story, please.", "I will tell a story."),
              ("Can you tell me a story?", "I will tell a story."),
              ("tell me a story", "I will tell a story."),
              (f"Tell me a story about {c.p}.", f"A story about {c.p}."),
              (f"Tell me a story about {c.aa}.", f"A story about {c.aa}."),
              (f"Tell me a story about {c.ac} {c.o}.", f"A story about {c.ac} {c.o}."),
              (f"Tell me a story about {c.p} and {c.aa}.", f"A story about {c.p} and {c.aa}."),
              (f"Write a story about {c.aa} called {c.n}.", f"A story about {c.aa} called {c.n}."),
              (f"Write a short story about {c.p} and {c.ac} {c.o}.",
               f"A story about {c.p} and {c.ac} {c.o}.")]
    user, thought = rng.choice(wishes)
    told = ex(user, thought, text, "tell")
    asked = [ex(f"What colour was the {c.o}?", f"In the story the {c.o} was {c.c}.",
                f"The {c.o} was {c.c}.", "told", c.c, (c.o, c.c)),
             ex(f"What was the {c.a} called?", f"In the story the {c.a} was called {c.n}.",
                f"The {c.a} was called {c.n}.", "told", c.n, (c.a, c.n)),
             ex(f"Who was {c.n}?", f"In the story {c.n} was {c.aa}.", f"{c.n} was {c.aa}.",
                "told", c.a, (c.n, c.a))]
    if i == 6:
        asked = asked[1:]
    return [told] + (rng.sample(asked, rng.choice((1, 2))) if rng.random() < 0.4 else [])


# --- small talk ----------------------------------------------------------------------------

TALK = [
    (("Hello", "Hello!", "Hi", "Hi!", "Hey", "hello", "hi", "Good morning!", "Hello there!",
      "Good day!", "Hi there"), "The user greets me. I greet back.",
     ("Hello! How can I help you?", "Hello! Nice to meet you. What would you like to know?")),
    (("Who are you?", "What are you?", "who are you?", "Tell me about yourself.",
      "Introduce yourself.", "Are you a human?", "Are you a robot?", "Who am I talking to?",
      "what are you"), "The user asks who I am.",
     ("I am Glia's demo model, a very small language model. I know the village of Fernhollow, I "
      "can tell stories, and I can add numbers.",)),
    (("What is your name?", "What's your name?", "what is your name?", "Do you have a name?"),
     "The user asks for my name.", ("I have no name of my own. I am Glia's demo model.",)),
    (("What can you do?", "Help", "help", "What do you know?", "How can you help me?",
      "What should I ask you?", "What are you good at?"), "The user asks what I can do.",
     ("I can tell a story, answer questions about a story or about Fernhollow, add and subtract "
      "two numbers, and chat a little.",)),
    (("What is Glia?", "Tell me about Glia.", "What does Glia mean?", "What is glia?"),
     "The user asks about Glia.",
     ("Glia is an engine that runs language models. It is written in C, and I am the small model "
      "that comes with it.",)),
    (("How are you?", "How are you today?", "How do you do?", "how are you?", "Are you well?",
      "How is it going?"), "The user asks how I am.",
     ("I am fine, thank you. How are you?", "I am well, thank you for asking!")),
    (("I am fine.", "I am fine, thanks.", "Very well, thank you.", "I am good.", "Fine!"),
     "The user is well.", ("I am glad to hear that! What shall we talk about?",)),
    (("Thank you!", "Thanks!", "Thank you very much.", "thanks", "Thanks a lot!", "Great, thanks."),
     "The user thanks me.", ("You are welcome!", "You are welcome! Ask me more if you like.")),
    (("Goodbye!", "Bye", "Bye!", "See you!", "Good night!", "bye", "See you later."),
     "The user says goodbye.", ("Goodbye! Come back soon.",)),
    (("Who made you?", "Where do you come from?", "Who built you?", "How were you made?",
      "Who trained you?"), "The user asks where I come from.",
     ("I was trained by the makers of Glia on stories from a small village.",)),
    (("How big are you?", "How many parameters do you have?", "Are you a large model?"),
     "The user asks how big I am.",
     ("I am tiny: I have fewer than four million parameters.",)),
    (("Are you clever?", "Are you smart?", "Do you know everything?"),
     "The user asks how much I know.", ("No, I am very small. But I know Fernhollow well.",)),
    (("What is Fernhollow?", "Tell me about Fernhollow.", "Where is Fernhollow?",
      "Describe Fernhollow."), "The user asks about the village.",
     ("Fernhollow is a small village on the river Lind. Twenty-four people live there, and every "
      "Saturday there is a market.",)),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh.", "tell me a joke"),
     "The user wants a joke.",
     ("Why did the hen cross the bridge? Because the boat was full of geese.",
      "What does an owl say when it is asleep? Nothing, and very wisely.")),
    (("Yes.", "Yes", "yes", "Okay.", "OK", "Ok.", "Good.", "Nice!", "Great!", "I see.", "Cool."),
     "The user agrees.", ("Good! What would you like to do next?",)),
    (("No.", "No", "no", "No, thanks.", "Not now."), "The user says no.",
     ("That is all right. Tell me when you need me.",)),
    (("I am sad.", "I feel sad today.", "I am tired.", "I had a bad day."),
     "The user does not feel well. I should be kind.",
     ("I am sorry to hear that. Shall I tell you a story?",)),
    (("I love you.", "You are great!", "You are nice.", "Well done!", "Good job!"),
     "The user says something kind.", ("That is kind of you. Thank you!",)),
    (("Do you like stories?", "Do you like animals?", "Do you like Fernhollow?"),
     "The user asks what I like.", ("Yes, very much!",)),
]

TOPICS = ("the moon|the sun|France|London|Paris|Berlin|Africa|China|computers|music|history|"
          "physics|chemistry|football|politics|money|the stars|the sea|love|time|space|trains|"
          "aeroplanes|Python|programming|the war|the king|the queen|cars|chess|poetry|art|science|"
          "medicine|the brain|dinosaurs|volcanoes|the weather in Paris|elephants|tigers|whales|"
          "the internet|a film|the news|quantum theory|the universe|mathematics|philosophy|"
          "cooking|coffee|tea|robots|Shakespeare|Einstein|Mars|electricity|the ocean|gold|"
          "America|Japan|India|Rome|a lion|a spider|the earth|the winter|a neural network|"
          "language models|the future|health|sleep|dreams").split("|")
BEYOND = ("What is {t}?", "Tell me about {t}.", "Explain {t}.", "What do you know about {t}?",
          "Write a poem about {t}.", "Why is {t} important?", "How does {t} work?",
          "What do you think about {t}?", "Can you explain {t} to me?", "Who invented {t}?",
          "Where is {t}?", "How old is {t}?", "Write an essay about {t}.", "Do you like {t}?",
          "What is the capital of {t}?", "Give me a recipe for {t}.", "Translate {t}.")


def small_talk(rng):
    questions, thought, answers = rng.choice(TALK)
    return ex(rng.choice(questions), thought, rng.choice(answers), "talk")


def beyond(rng):
    """What the model cannot know: it should say so."""
    topic = rng.choice(TOPICS)
    return ex(rng.choice(BEYOND).format(t=topic), f"I do not know about {topic}.",
              f"I am sorry, I do not know about {topic}. I am a very small model. Ask me about "
              "Fernhollow, or give me two numbers to add.", "beyond", "do not know")


def little_tasks(rng):
    k = rng.randrange(4)
    if k == 0:
        words = rng.sample(OBJECTS + PLACES + COLOURS + sorted(ANIMALS) + PEOPLE, rng.randint(2, 5))
        text = " ".join(words)
        return ex(rng.choice((f"Repeat: {text}", f"Say: {text}", f"Repeat after me: {text}")),
                  "I repeat the words.", text, "repeat", text)
    if k == 1:
        name, group = rng.choice((("animals", sorted(ANIMALS)), ("colours", COLOURS),
                                  ("places in Fernhollow", PLACES), ("people", PEOPLE)))
        n = rng.choice((2, 3, 4, 5))
        words = rng.sample(group, n)
        return ex(f"Name {NUMBERS[n - 2]} {name}.", f"I choose {NUMBERS[n - 2]} {name}.",
                  cap(", ".join(words[:-1])) + " and " + words[-1] + ".", "name")
    if k == 2:
        a = rng.choice(sorted(ANIMALS))
        return ex(f"What is the plural of {a}?", f"One {a}, two {ANIMALS[a]}.",
                  f"The plural of {a} is {ANIMALS[a]}.", "plural", ANIMALS[a])
    a, b = rng.sample(sorted(ANIMALS), 2)
    c = rng.choice(COLOURS)
    words = [a, c] if rng.random() < 0.5 else [c, a]
    return ex(f"Which of these is a colour: {words[0]} or {words[1]}?",
              f"{cap(a)} is an animal. {cap(c)} is a colour.", f"{cap(c)} is a colour.", "colour",
              cap(c), (a, c))


# --- tools ---------------------------------------------------------------------------------

def tool_chat(rng):
    """A question for a tool: the call, and then the answer from what came back."""
    tools = rng.choice(([CALCULATOR], [CALCULATOR], [CALCULATOR, WEATHER_TOOL],
                        [WEATHER_TOOL, CALCULATOR]))
    if len(tools) == 2 and rng.random() < 0.4:
        place, w = rng.choice(PLACES), rng.choice(WEATHER)
        user = rng.choice((f"What is the weather like at the {place}?",
                           f"How is the weather at the {place}?"))
        call = ("get_weather", {"place": f"the {place}"})
        return dict(tools=tools, user=user, call=call, result=w, held=held_out(place, w),
                    thought=f"I ask the weather tool about the {place}.",
                    then=f"The tool says: {w}.", answer=f"It is {w} at the {place}.", expect=w)
    top = rng.choice((99, 99, 999, 9999))
    a, b = rng.randint(2, top), rng.randint(2, top)
    op = rng.choice("++-*")
    if op == "-":
        a, b = max(a, b), min(a, b)
    word = {"+": "plus", "-": "minus", "*": "times"}[op]
    user = rng.choice(("What is {a} {o} {b}?", "What is {a} {w} {b}?", "How much is {a} {o} {b}?",
                       "{a} {o} {b}", "Calculate {a} {o} {b}.", "{a}{o}{b}", "What is {a}{o}{b}?",
                       "Please work out {a} {w} {b}.")).format(a=a, b=b, o=op, w=word)
    value = {"+": a + b, "-": a - b, "*": a * b}[op]
    return dict(tools=tools, user=user, call=("calculator", {"expression": f"{a}{op}{b}"}),
                result=str(value), held=held_out(a, op, b), thought="I use the calculator.",
                then=f"The calculator says {value}.", answer=f"{a} {op} {b} = {value}.",
                expect=str(value))


def tool_conversation(rng, prefix):
    t = tool_chat(rng)
    name, arguments = t["call"]
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": name, "arguments": arguments}}]}
    messages = prefix + [{"role": "user", "content": t["user"]}, call]
    out = dict(messages=messages, thought=t["thought"], tools=t["tools"], kind="call",
               expect=name, held=t["held"])
    if rng.random() < 0.5:
        messages += [{"role": "tool", "content": t["result"]},
                     {"role": "assistant", "content": t["answer"]}]
        call["reasoning_content"] = t["thought"]
        out.update(thought=t["then"], kind="response", expect=t["expect"])
    return out


# --- conversations -------------------------------------------------------------------------

PERSONAS = "Pebble Robin Fern Echo Amber Nutmeg Cricket Marble Velvet Comet".split()
RULES = ("You are a helpful assistant.", "Be kind.", "Answer in short sentences.",
         "You are Glia's demo model.", "Be brief and friendly.")


def one_exchange(rng, date):
    if rng.random() < 0.01:
        return today(rng, date)
    pick = rng.choices((arithmetic, fact, small_talk, counting, beyond, little_tasks, products),
                       (34, 22, 16, 5, 9, 9, 5))[0]
    return pick(rng)


def persona(rng):
    name = rng.choice(PERSONAS)
    e = ex(rng.choice(("Who are you?", "What is your name?", "What's your name?")),
           f"My name is {name}.", f"I am {name}.", "persona", name)
    return [{"role": "system", "content": f"Your name is {name}."}], [e]


def conversation(rng, date):
    """Draw one conversation; date is what the system message will say, or None."""
    system = [{"role": "system", "content": rng.choice(RULES)}] if rng.random() < 0.15 else []
    r = rng.random()
    if r < 0.10:
        return tool_conversation(rng, system)
    tools = None
    if r < 0.115:
        system, exchanges = persona(rng)
    elif r < 0.46:
        exchanges = scene_chat(rng)
    elif r < 0.58:
        exchanges = told_story(rng)
    else:
        exchanges = [one_exchange(rng, date)]
        while rng.random() < 0.65 and len(exchanges) < 5:
            exchanges.append(one_exchange(rng, date))
        if rng.random() < 0.03 and exchanges[-1]["kind"] not in ("sum", "difference"):
            tools = [CALCULATOR]
    while rng.random() < 0.2 and len(exchanges) < 5:
        exchanges.insert(0, one_exchange(rng, date))
    messages = list(system)
    for e in exchanges:
        messages += [{"role": "user", "content": e["user"]},
                     {"role": "assistant", "content": e["answer"]}]
    last = exchanges[-1]
    return dict(messages=messages, thought=last["thought"], tools=tools, kind=last["kind"],
                expect=last["expect"], held=last["held"],
                held_before=any(e["held"] for e in exchanges[:-1]))


def training(rng, date=None):
    """Draw until a conversation has nothing that is held out."""
    while True:
        c = conversation(rng, date)
        if not c["held"] and not c.get("held_before"):
            return c


def held(rng, date=None):
    """Draw until the last question is held out, and has a known answer."""
    while True:
        c = conversation(rng, date)
        if c["held"] and c["expect"]:
            return c


def plain_story(rng):
    c = Cast(rng)
    return rng.choice(PLOTS).format(aa_=cap(c.aa), **vars(c))


def practice(rng):
    """Plain text dense in what the chats need: copying, derivations, facts, finding the line."""
    kind = rng.randrange(4)
    lines = []
    if kind == 0:
        group = rng.sample(OBJECTS + PLACES + COLOURS + sorted(ANIMALS) + PEOPLE + THINGS
                           + [str(n) for n in range(100)], rng.randint(4, 12))
        return "\n".join([" ".join(group)] * rng.randint(2, 4))
    while kind == 1 and len(lines) < 4:
        e = arithmetic(rng)
        if not e["held"]:
            lines.append(e["user"] + "\n" + e["thought"])
    if kind == 2:
        for p in rng.sample(PEOPLE, 2):
            f = PERSON[p]
            lines.append(
                f"{p} is the {f['job']}. {p} lives near the {f['home']}. {p} has "
                f"{art(f['pet'])} called {f['pet_name']}. {f['pet_name']} is {p}'s {f['pet']}. "
                f"{p} likes {f['colour']} best. {p} likes {f['food']} best. "
                f"The {f['job']} is {p}.")
    if kind == 3:
        scene = Scene(rng)
        asked = [scene_question(q) for q in scene.all_questions()]
        rng.shuffle(asked)
        lines = [" ".join(scene.lines)] + [e["user"] + " " + e["thought"] for e in asked[:6]
                                           if not e["held"]]
    return "\n".join(lines)
