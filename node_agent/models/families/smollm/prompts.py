"""Prompts: questions and short tasks of everyday life, from templates and words that were chosen by hand.

A prompt is a template with a word in it. Each such pair belongs to one use only: training, calibration, the exit table
or the evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

USES = ("train", "calibration", "exit_table", "evaluation")

_GROUPS: Mapping[str, tuple[str, Sequence[str]]] = {  # words and templates, by what the words name
    "things": (
        "a bicycle, an umbrella, a clock, a lamp, a mirror, a pillow, a ladder, a hammer, a bucket, a candle, "
        "a kettle, a basket, a blanket, a compass, a telescope, a camera, a piano, a guitar, a violin, a drum, "
        "a pencil, a notebook, an envelope, a stamp, a map, a globe, a tent, a backpack, a kite, a balloon, a scarf, "
        "a glove, a button, a needle, a thread, a zipper, a wheel, a bridge, a lighthouse, a windmill, a train, "
        "a ferry, a sailboat, a tractor, an elevator, a calendar, a dictionary, a thermometer, a magnet, a battery",
        (
            "What is {}?",
            "What is {} used for?",
            "How does {} work?",
            "Describe {} in one sentence.",
            "Write a short poem about {}.",
            "How do I clean {}?",
            "How do I choose {}?",
            "Who needs {}?",
            "Write a riddle about {}.",
            "Give me three facts about {}.",
            "Explain to a child the use of {}.",
            "Begin a story about {}.",
        ),
    ),
    "foods": (
        "bread, cheese, butter, yogurt, rice, pasta, soup, salad, pizza, pancakes, oatmeal, honey, jam, tomatoes, "
        "potatoes, carrots, onions, garlic, spinach, pumpkin, mushrooms, beans, lentils, apples, pears, bananas, "
        "oranges, lemons, cherries, strawberries, blueberries, grapes, walnuts, almonds, olives, cinnamon, ginger, "
        "basil, coffee beans, tea leaves, lemon juice, chocolate, vanilla, popcorn, noodles, dumplings, eggs, tofu, "
        "corn, cucumbers",
        (
            "How do I store {}?",
            "What goes well with {}?",
            "Is it healthy to eat a lot of {}?",
            "Give me a simple recipe with {}.",
            "Tell me about the history of {}.",
            "List three dishes with {}.",
            "What can I use instead of {}?",
            "How do I choose good {}?",
            "Plan a dinner with {}.",
            "Write a shopping list for a meal with {}.",
            "Why do people like {}?",
            "Describe the taste of {}.",
        ),
    ),
    "animals": (
        "cats, dogs, horses, cows, sheep, goats, ducks, geese, hens, rabbits, hamsters, squirrels, hedgehogs, foxes, "
        "deer, bears, beavers, otters, seals, dolphins, whales, penguins, owls, sparrows, robins, swans, storks, "
        "pigeons, parrots, frogs, toads, turtles, lizards, salmon, goldfish, octopuses, crabs, snails, butterflies, "
        "bees, ants, ladybirds, dragonflies, spiders, elephants, giraffes, zebras, camels, koalas, kangaroos",
        (
            "What do {} eat?",
            "Where do {} live?",
            "How long do {} live?",
            "How do {} sleep?",
            "Why are {} important?",
            "Tell me something surprising about {}.",
            "Write two sentences about {}.",
            "How do {} raise their young?",
            "What do {} do in winter?",
            "Give me a name for a story about {}.",
            "How can I help {} in my garden?",
            "What sound do {} make?",
        ),
    ),
    "activities": (
        "swimming, running, walking, cycling, hiking, dancing, singing, painting, drawing, reading, writing, cooking, "
        "baking, gardening, knitting, sewing, fishing, camping, skating, skiing, sailing, rowing, climbing, juggling, "
        "chess, tennis, football, basketball, volleyball, yoga, photography, pottery, woodworking, birdwatching, "
        "stargazing, travelling, shopping, cleaning, studying, teaching, volunteering, meditation, recycling, "
        "budgeting, public speaking, learning a language, keeping a diary, playing the piano, packing a suitcase, "
        "moving house",
        (
            "Give me three tips for {}.",
            "Why do people enjoy {}?",
            "What do I need for {}?",
            "How do I start with {}?",
            "What are the benefits of {}?",
            "What is hard about {}?",
            "Write a short advertisement for a course on {}.",
            "How often should I practise {}?",
            "Make a plan for a week of {}.",
            "How do I get better at {}?",
            "Name three mistakes that beginners make when {} is new to them.",
            "Can children learn {}?",
        ),
    ),
    "nature": (
        "rain, snow, fog, wind, thunder, lightning, rainbows, clouds, hail, frost, the sun, the moon, the stars, "
        "the tides, waves, rivers, lakes, waterfalls, glaciers, mountains, valleys, deserts, forests, meadows, "
        "islands, caves, volcanoes, earthquakes, the seasons, spring, summer, autumn, winter, oak trees, pine trees, "
        "grass, moss, roses, tulips, sunflowers, seeds, leaves, roots, soil, sand, salt, water, air, light, sound",
        (
            "Explain {} in simple words.",
            "How does science explain {}?",
            "Why do we need to know about {}?",
            "Write a haiku about {}.",
            "What would the world be without {}?",
            "Give me an example of a sentence about {}.",
            "What colour do we think of with {}?",
            "Describe {} to someone who has never seen a picture.",
            "List three words that belong to {}.",
            "Ask me a quiz question about {}.",
        ),
    ),
    "work": (
        "a teacher, a nurse, a doctor, a baker, a cook, a waiter, a farmer, a gardener, a carpenter, a plumber, "
        "an electrician, a painter, a mechanic, a pilot, a sailor, a train driver, a bus driver, a librarian, "
        "a scientist, an engineer, an architect, a programmer, a designer, a journalist, an author, a translator, "
        "a musician, an actor, a dancer, a photographer, a tailor, a hairdresser, a shopkeeper, a postman, "
        "a firefighter, a dentist, a veterinarian, a pharmacist, an accountant, an astronomer",
        (
            "What does {} do?",
            "What does it take to become {}?",
            "Describe a day in the life of {}.",
            "What tools does {} use?",
            "What should {} be good at?",
            "Write a polite email to {}.",
            "Write a thank-you note to {}.",
            "What questions would you ask {}?",
            "Why do we need {}?",
            "Write one line of dialogue for {}.",
        ),
    ),
    "sums": (
        "12 and 7, 15 and 20, 8 and 9, 30 and 12, 25 and 25, 14 and 6, 11 and 19, 40 and 2, 16 and 16, 5 and 50, "
        "21 and 9, 17 and 3, 33 and 11, 18 and 24, 10 and 45, 60 and 15, 7 and 70, 28 and 13, 36 and 4, 22 and 44",
        (
            "What is the sum of {}?",
            "Which is larger: {}?",
            "Add {} and show the steps.",
            "Write a word problem with {}.",
            "What is the difference of {}?",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with a word in it."""

    template: str
    word: str

    @property
    def text(self) -> str:
        """The request in words."""
        return self.template.format(self.word)


def all_prompts() -> list[Prompt]:
    """Return every prompt, in the order of the groups."""
    return [
        Prompt(template, word)
        for words, templates in _GROUPS.values()
        for template in templates
        for word in words.split(", ")
    ]


def split_prompts(counts: Mapping[str, int], seed: int) -> Mapping[str, list[Prompt]]:
    """Return prompts for each use; none serves two uses.

    Args:
        counts: the wanted number for each of `USES`.
        seed: of the random order.

    Raises:
        ValueError: there are too few prompts.
    """
    known = all_prompts()
    if sum(counts.values()) > len(known):
        raise ValueError(f"{sum(counts.values())} prompts are wanted, there are {len(known)}")
    order = np.random.default_rng(seed).permutation(len(known))
    ends = np.cumsum([counts[use] for use in USES])
    parts = np.split(order, ends)[: len(USES)]
    return {use: [known[index] for index in part] for use, part in zip(USES, parts, strict=True)}
