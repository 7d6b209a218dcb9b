"""What bench/run has measured: a table for people as it goes, and all of it as JSON at the end."""

import json
import statistics
import sys


def at_least(number):
    return ">=", number


def at_most(number):
    return "<=", number


def reached(goal, number):
    return number >= goal[1] if goal[0] == ">=" else number <= goal[1]


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def short(number):
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


class Report:
    def __init__(self, machine):
        self.machine, self.said = machine, ()
        self.figures, self.problems, self.missing = [], [], []

    def head(self, title, *said):
        """Of a table in whose lines the conditions that it has said need not be said again."""
        self.said = said
        print(f"\n{title}\n", flush=True)

    def problem(self, text):
        """What could not be measured. It does not stop the others."""
        self.problems.append(text)
        print(f"bench/run: {text}", file=sys.stderr, flush=True)

    def left_out(self, why):
        """What is not installed, and so can't be measured."""
        if str(why) not in self.missing:
            self.missing.append(str(why))
            print(f"bench/run: {why}", file=sys.stderr, flush=True)

    def add(self, part, name, values, unit, goal=None, ratios=None, more=None, **where):
        """A figure: values are those of the rounds. ratios: for a name the values of the same rounds that ours are divided by,
        or (values, goal). more: name -> values. where: under which conditions it was taken."""
        if not values:
            return
        figure = {"part": part, "name": name, **where, "unit": unit, **spread(values), "rounds": values}
        text = f"  {self.label(name, where):44} {short(figure['median']):>9} {unit:12} {short(figure['low']):>8} .. {short(figure['high']):8}"
        if goal:
            figure["goal"] = self.goal(goal, figure["median"])
            text += self.goal_text(figure["goal"])
        for what, numbers in (more or {}).items():
            figure[what] = spread(numbers)
            text += f"  {what} {short(figure[what]['median'])}"
        for of, against in (ratios or {}).items():
            numbers, goal = against if isinstance(against, tuple) else (against, None)
            if len(numbers) != len(values) or not all(numbers):
                continue
            ratio = spread([a / b for a, b in zip(values, numbers)])
            text += f"  {short(ratio['median'])} x {of}"
            if goal:
                ratio["goal"] = self.goal(goal, ratio["median"])
                text += self.goal_text(ratio["goal"])
            figure.setdefault("ratios", {})[of] = ratio
        self.figures.append(figure)
        print(text.rstrip(), flush=True)

    def label(self, name, where):
        return ", ".join([name, *(f"{what} {value}" for what, value in where.items() if what not in self.said)])

    @staticmethod
    def goal(goal, number):
        return {"is": goal[0], "number": goal[1], "reached": reached(goal, number)}

    @staticmethod
    def goal_text(goal):
        return f" (goal {goal['is']} {goal['number']:g}{'' if goal['reached'] else ': MISSED'})"

    def write(self, path, **more):
        with open(path, "w") as out:
            json.dump({**self.machine, **more, "figures": self.figures, "problems": self.problems, "missing": self.missing}, out, indent=1)
            out.write("\n")
