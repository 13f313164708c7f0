"""``satchel tasks``: the checkboxes of the project that nobody has ticked yet."""

from __future__ import annotations

import click

from satchel.cli.face import Face, plural
from satchel.cli.reading import open_reading
from satchel.cli.verb import again, verb
from satchel.context.answers import MAX_LIST_LIMIT, Task


@verb(
    "tasks",
    examples=[
        ("satchel tasks", "Every open task of this project, by file."),
        ("satchel tasks --path plans/ --done", "What was finished in the plans."),
    ],
    gives="A list of tasks, as REST and MCP give it: `project`, `digest`, `version`, `items`, `total`, `next`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--done", is_flag=True, help="List finished tasks instead.")
@click.option("--path", "prefix", default="", metavar="PREFIX", help="Only files whose path begins so.")
@click.option("-n", "--limit", type=click.IntRange(1, MAX_LIST_LIMIT), default=100, help="Most tasks to show (100).")
@click.option("--cursor", help="Go on from the `next` of an earlier answer.")
@click.option("-p", "--project", help="Another project.")
@click.option("--remote", is_flag=True, help="Ask the server instead of this disk.")
def command(
    face: Face, done: bool, prefix: str, limit: int, cursor: str | None, project: str | None, remote: bool
) -> None:
    """List open tasks.

    A task is a checkbox in a text document: `- [ ] write the runbook @sam`. Ticked boxes are done; an @name is the
    owner.
    """
    with open_reading(face, (project,) if project else (), remote=remote) as reading:
        answer = reading.reader.tasks(reading.one, done=done, prefix=prefix, cursor=cursor, limit=limit)
        reading.tell(face)

    def show() -> None:
        before = ""
        for task in answer["items"]:
            where = reading.place(task["project"], task["path"])
            if face.terminal and where != before:
                face.line(face.style(face.fit(where), fg="cyan"))
            before = where
            face.line(_line(face, task, where))
        state = "finished" if done else "open"
        face.note(
            face.dim(
                f"{len(answer['items'])} of {plural(answer['total'], f'{state} task')} · project {answer['project']}"
            )
            if answer["total"]
            else f"No {state} tasks in project {answer['project']}."
        )
        if answer["next"]:
            face.note(f"More:  {again(cursor=answer['next'])}")

    face.answer(answer, show)


def _line(face: Face, task: Task, where: str) -> str:
    if not face.terminal:
        return "\t".join([f"{where}:{task['line']}", "done" if task["done"] else "open", face.fit(task["text"])])
    number = f"{task['line']:>6}"
    return f"{face.dim(number)}  {face.fit(task['text'], face.columns - 8)}"
