"""`pointsmith sweep`: every combination of methods, data, seeds and settings, here one by one or through the queue."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ...core.errors import UserError
from .names import unknown
from .output import duration, print_json, table
from .run_options import RunOptions, absolute, data_content, make_run, run_options
from .runs import open_store, service_option
from .session import check_free, default_folder

if TYPE_CHECKING:
    from ...core.config import RunConfig
    from ...core.training.sweep import Expansion, Member, Outcome, Stat, SweepPlan
    from ...worker.sweeps import Sweeps

PLAN_NAME = "sweep.yaml"
_FORMATS = ("table", "csv", "runs-csv", "latex", "json")


@dataclass(frozen=True)
class Queue:
    """How a sweep goes through a service, or which queued one is meant."""

    submit: bool
    service: Path | None
    name: str | None
    place: Literal["any", "cpu", "cuda"]
    memory: float | None
    show: str | None
    cancel: str | None
    retry: str | None

    @property
    def known(self) -> str | None:
        """The id of the sweep that is looked at or acted on."""
        return self.show or self.cancel or self.retry


@click.command()
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(path_type=Path))
@run_options
@click.option("--methods", metavar="A,B", help="Methods; each with its own defaults unless it is the run's own.")
@click.option("--datasets", metavar="A,B", help="Kinds, folders or files, as --data takes them.")
@click.option("--seeds", metavar="0,1,2", help="Seeds of each combination; 0-4 is 0 to 4.")
@click.option("--grid", multiple=True, metavar="KEY=A,B", help="Values of any setting in turn; may be given again.")
@click.option("--dry-run", is_flag=True, help="Only say which runs it would be, and which combinations are none.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of all runs.  [default: ./runs/TIME-sweep]")
@click.option("--resume", is_flag=True, help="Go on with the sweep in --out; finished runs are not run again.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--submit", is_flag=True, help="Queue all runs at a running service, for all of its workers.")
@service_option("--service")
@click.option("--name", help="What the queued sweep is called.  [default: METHODS on DATA]")
@click.option("--on", "place", type=click.Choice(["any", "cpu", "cuda"]), default="any", help="With --submit: where.")
@click.option("--memory", type=float, metavar="GB", help="GPU memory that a run needs; with --on cuda.")
@click.option("--show", metavar="ID", help="Show the table of a queued sweep.")
@click.option("--cancel", metavar="ID", help="Cancel what has not ended of a queued sweep.")
@click.option("--retry", metavar="ID", help="Queue again what failed, was cancelled or is missing.")
@click.option("--format", "shape", type=click.Choice(_FORMATS), default="table", show_default=True, help="Of tables.")
@click.pass_context
def sweep(
    ctx: click.Context,
    plan_file: Path | None,
    out: Path | None,
    resume: bool,
    device: str,
    dry_run: bool,
    shape: str,
    **options: Any,
) -> None:
    """Train every combination of methods, data, seeds and settings, and report mean ± deviation over the seeds.

    PLAN is a YAML file with `run` (what all have in common), `methods`, `data`, `seeds` and `grid`; the options say the
    same in short. Combinations that do not go together are named and left out.

    \b
    Example:
      pointsmith sweep --methods dapt,adapter-x --seeds 0,1,2 --grid optim.lr=0.001,0.0005 --dry-run
      pointsmith sweep --recipe demo --methods dapt,lora --seeds 0-2 --out runs/sweep
      pointsmith sweep plan.yaml --submit
      pointsmith sweep --show 3f2a… --format latex
    """
    queue = Queue(**{field.name: options.pop(field.name) for field in fields(Queue)})
    if queue.known:
        _queued(queue, shape)
        return
    if resume:
        plan_file = _resumable(out)
    plan = _plan(plan_file, options, resume)
    if queue.submit and not dry_run:
        _submit(plan, queue, shape)
        return
    found = _expanded(plan)
    if dry_run:
        _preview(found, shape)
        return
    _say_refused(found)
    folder = out or default_folder("sweep")
    if not resume:
        check_free(folder)
    ctx.exit(_run(plan, found, folder, device, shape))


def _plan(file: Path | None, options: dict[str, Any], resume: bool) -> SweepPlan:
    """Return the plan of a file or of options, paths absolute; the options' lists stand in the place of the file's."""
    from ...core.config import read_yaml
    from ...core.training.sweep import parse_plan

    lists = {name: options.pop(name) for name in ("methods", "datasets", "seeds", "grid")}
    run = RunOptions(**options)
    if resume and (run != RunOptions() or any(lists.values())):
        raise UserError("--resume takes the sweep as it was begun", remedy="Leave the other options out")
    if file is not None and run != RunOptions():
        raise UserError("A plan and options of a run are both given", remedy="Write them into the plan's `run`")
    content = read_yaml(file) if file else {}
    content |= {"methods": _split(lists["methods"])} if lists["methods"] else {}
    content |= {"seeds": _seeds(lists["seeds"])} if lists["seeds"] else {}
    content |= {"grid": _grid(lists["grid"])} if lists["grid"] else {}
    if file is None:
        content["run"] = _common(run, _split(lists["methods"]), _split(lists["datasets"])).to_dict()
    if lists["datasets"]:
        before = (content.get("run") or {}).get("data")
        content["data"] = [data_content(one, before) for one in _split(lists["datasets"])]
    plan = parse_plan(content, file.name if file else "The sweep")
    return plan.model_copy(update={"data": tuple(_absolute(one) for one in plan.data)})


def _common(run: RunOptions, methods: list[str], data: list[str]) -> RunConfig:
    """Return the run that all have in common: as the options say, or the first combination that goes together."""
    refused: UserError | None = None
    for method, one in itertools.product([run.method, *methods], [run.data, *data]):
        try:
            return make_run(replace(run, method=method, data=one))
        except UserError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _split(text: str | None) -> list[str]:
    return [one.strip() for one in (text or "").split(",") if one.strip()]


def _seeds(text: str) -> list[int]:
    found: list[int] = []
    for one in _split(text):
        low, dash, high = one.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise UserError("--seeds holds something else than numbers", got=one, expected="e.g. 0,1,2 or 0-4")
        found += range(int(low), int(high) + 1) if dash else [int(low)]
    return found


def _grid(given: tuple[str, ...]) -> dict[str, list[Any]]:
    from ...core.training.sweep import values_of

    found: dict[str, list[Any]] = {}
    for one in given:
        key, sign, values = one.partition("=")
        if not sign or not key.strip():
            raise UserError("--grid is not of the form KEY=A,B", got=one, expected="e.g. optim.lr=0.001,0.0005")
        if key.strip() in found:
            raise UserError("--grid names a setting twice", got=key.strip(), remedy="Give its values once, with commas")
        found[key.strip()] = values_of(values)
    return found


def _absolute(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a data set's settings with its paths absolute; one that is none stays, to be refused with its reason."""
    from ...core.config import parse_config

    try:
        run = absolute(parse_config({"data": entry, "select": "last"}))
    except UserError:
        try:
            run = absolute(parse_config({"data": entry, "select": "last", "backbone": {"kind": "vit-b16"}}))
        except UserError:
            return entry
    return run.to_dict()["data"]


def _expanded(plan: SweepPlan) -> Expansion:
    from ...core.training.sweep import expand
    from ..review import check_files

    found = expand(plan, check_files)
    if not found.members:
        raise UserError(f"No combination of this sweep is a run. {found.refused[0].reason}")
    return found


def _preview(found: Expansion, shape: str) -> None:
    from ...core.training.sweep import describe

    if shape == "json":
        refused = [{"at": one.at, "reason": one.reason} for one in found.refused]
        print_json({"runs": [{"name": one.name, "at": one.at} for one in found.members], "refused": refused})
        return
    for one in found.members:
        click.echo(describe(one.at))
    _say_refused(found)
    click.echo(f"{len(found.members)} runs")


def _say_refused(found: Expansion) -> None:
    from ...core.training.sweep import describe

    for one in found.refused:
        click.echo(f"Left out: {describe(one.at)}. {one.reason}", err=True)


def _resumable(out: Path | None) -> Path:
    if out is None:
        raise UserError("--resume needs the folder of the sweep", remedy="Name it with --out DIR")
    if not (out / PLAN_NAME).is_file():
        raise UserError("There is no sweep to resume", got=str(out), expected=f"a folder with {PLAN_NAME}")
    return out / PLAN_NAME


def _run(plan: SweepPlan, found: Expansion, folder: Path, device: str, shape: str) -> int:
    """Run what is not finished, one after another; a run that fails does not stop the others. Returns the exit code."""
    import yaml

    from ...core.training.device import pick_device

    pick_device(device)
    stream = sys.stderr if shape != "table" else sys.stdout
    outcomes: dict[str, Outcome] = {one.name: _waiting(one) for one in found.members}
    folder.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False)
    (folder / PLAN_NAME).write_text(content, encoding="utf-8")
    for number, member in enumerate(found.members, start=1):
        click.echo(f"{member.name} ({number} of {len(found.members)})", file=stream)
        try:
            outcome = _member(member, folder, device)
        except UserError as error:
            click.echo(f"Error: {error}", err=True)
            outcome = outcomes[member.name].model_copy(update={"state": "failed", "error": str(error)})
        except KeyboardInterrupt:
            outcome = None
        if outcome is None:
            click.echo(f"Stopped. Go on with: pointsmith sweep --out {folder} --resume", err=True)
            return 130
        outcomes[member.name] = outcome
        _write(folder, list(outcomes.values()))
    _show(list(outcomes.values()), shape)
    click.echo(f"Tables: {folder / 'table.csv'}, {folder / 'table.tex'}", file=stream)
    return 1 if any(one.state != "succeeded" for one in outcomes.values()) else 0


def _waiting(member: Member) -> Outcome:
    from ...core.training.sweep import Outcome

    return Outcome(at=member.at, state="queued", run=member.name)


def _member(member: Member, folder: Path, device: str) -> Outcome | None:
    from ...core.training.series import finished_member
    from .series import run_member

    config = absolute(member.config)
    done = finished_member(config, folder, member.name)
    if done is None:
        done = run_member(config, folder, member.name, device, sys.stderr)
    if done is None:
        return None
    known = {"test": done.test_accuracy, "validation": done.validation_accuracy, "seconds": done.seconds}
    # No memory: the peak of this process is the largest of all its runs so far.
    known |= {"trainable": done.trainable, "metric": done.metric, "state": "succeeded"}
    return _waiting(member).model_copy(update=known)


def _write(folder: Path, outcomes: list[Outcome]) -> None:
    from ...core.durable import write_synced
    from ...core.training.sweep import latex, means_csv, runs_csv

    for name, make in (("table.csv", means_csv), ("runs.csv", runs_csv), ("table.tex", latex)):
        write_synced(folder / name, make(outcomes).encode())


def _show(outcomes: list[Outcome], shape: str) -> None:
    from ...core.training import sweep as made

    shapes: dict[str, Callable[[list[Outcome]], str]] = {
        "csv": made.means_csv,
        "runs-csv": made.runs_csv,
        "latex": made.latex,
    }
    if shape == "json":
        print_json([one.model_dump() for one in outcomes])
    elif shape in shapes:
        click.echo(shapes[shape](outcomes), nl=False)
    else:
        click.echo(_as_table(outcomes))


def _as_table(outcomes: list[Outcome]) -> str:
    from ...core.training.sweep import summarise, varied

    keys = varied(outcomes)
    rows = []
    for one in summarise(outcomes):
        time = duration(one.seconds.mean) if one.seconds else "–"
        memory = f"{one.memory.mean / 1e6:.0f} MB" if one.memory else "–"
        trainable = f"{one.trainable.mean:,.0f}" if one.trainable else "–"
        numbers = [_pm(one.validation), _pm(one.test), trainable, time, memory]
        rows.append([*(str(one.at.get(key, "")) for key in keys), f"{one.done}/{len(one.runs)}", *numbers])
    return table([*keys, "done", "validation", "test", "parameters", "time", "memory"], rows)


def _pm(stat: Stat | None) -> str:
    from ...core.training.sweep import spread

    mean, deviation = spread(stat, 100)
    return f"{mean} ± {deviation} %" if deviation else f"{mean} %" if mean else "–"


def _submit(plan: SweepPlan, queue: Queue, shape: str) -> None:
    from ...worker.capability import Needs
    from ...worker.sweeps import Sweeps

    found = _expanded(plan)
    _say_refused(found)
    from ..review import check_files

    needs = Needs(queue.place, queue.memory)
    with open_store(queue.service) as store:
        made = Sweeps(store).start(plan, name=queue.name or "", needs=needs, check=check_files)
    if shape == "json":
        print_json({"sweep": made, "runs": len(found.members)})
    else:
        click.echo(f"{made}\n{len(found.members)} runs. Look at them: pointsmith sweep --show {made}")


def _queued(queue: Queue, shape: str) -> None:
    """Show a queued sweep, or act on it first."""
    from ...worker.sweeps import Sweeps

    given = [one for one in (queue.show, queue.cancel, queue.retry) if one]
    if len(given) > 1 or queue.submit:
        raise UserError("--show, --cancel, --retry and --submit do not go together", remedy="Give one of them")
    with open_store(queue.service) as store:
        sweeps = Sweeps(store)
        one = _find(sweeps, given[0])
        if queue.cancel:
            click.echo(f"{sweeps.cancel(one)} runs cancelled.", err=True)
        elif queue.retry:
            from ..review import check_files

            click.echo(f"{sweeps.retry(one, check=check_files)} runs queued again.", err=True)
        _show(sweeps.get(one).outcomes, shape)


def _find(sweeps: Sweeps, text: str) -> str:
    """Return the id of the only sweep whose id begins so."""
    if len(text) == 24:
        return text
    known = [one.id for one in sweeps.list()]
    found = [one for one in known if one.startswith(text)]
    if len(found) != 1:
        raise unknown(text, [one[:8] for one in known], "sweep")
    return found[0]
