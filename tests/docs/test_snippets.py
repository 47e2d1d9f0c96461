"""Every snippet of README.md and of the other pages is run, or checked as far as this machine can, or fails here.

Python is run as it stands, page by page. A config is built and trained for a step. A command about the digits is run in
a sandbox with few of them; one that needs COCO, GPUs or hours is read by the real parser of its tool. TOOLS says which.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs.sandbox import CHECKPOINT, CONFIG, FEWER
from docs.snippets import PAGES, REPO, SNIPPETS, Snippet, run_python, snippets_of
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.runner import Runner
from tools.running import environment, run_tool

from ghm_mmdet.__main__ import COMMANDS, FORMER_NAMES, make_parser
from ghm_mmdet.config import load_config

# Output and citations, which nothing runs, and the directives of the site.
NOT_RUN = ("text", "bibtex")
COCO, GPUS, HOURS, LONG = "needs COCO", "needs GPUs", "takes hours", "takes minutes, run by tests/test_demo_tool.py"
# How each tool's commands are checked: run in the sandbox, or, with the reason, only read by its parser.
TOOLS = {
    "analysis/estimate_prior.py": COCO,
    "analysis/gradient_norms.py": "run",
    "analysis/watch.py": "run",
    "benchmark.py": HOURS,
    "check_dataset.py": COCO,
    "demo.py": LONG,
    "make_digits.py": "run",
    "predict.py": "run",
    "report.py": "run",
    "study.py": HOURS,
    "test.py": COCO,
    "train.py": COCO,
}
# Of the tools above, what is run all the same, since it is about the digits.
DIGITS = re.compile(r"digits")


def parameters(snippets: list[Snippet]) -> list:
    return [pytest.param(snippet, id=str(snippet)) for snippet in snippets]


def test_every_language_is_known() -> None:
    unknown = [
        f"{snippet}: {snippet.language or 'no language'}"
        for snippet in SNIPPETS
        if snippet.language not in ("python", "diff", "bash", "json", *NOT_RUN) and not snippet.language.startswith("{")
    ]
    assert not unknown, "say what these blocks are, or teach this test to run them"
    assert {"README.md", "your_detector.md", "concepts.md", "quick_start.md"} <= {page.name for page in PAGES}


def test_readme_is_short() -> None:
    assert len((REPO / "README.md").read_text().splitlines()) <= 120


def programs(page: Path) -> list[Snippet]:
    return [snippet for snippet in snippets_of(page) if snippet.language == "python" and not snippet.is_config]


def uses_demo(page: Path) -> bool:
    return any("work_dirs/" in snippet.text for snippet in programs(page))


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=p.name, marks=pytest.mark.slow if uses_demo(p) else ()) for p in PAGES if programs(p)],
)
def test_python_runs(
    page: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(request.getfixturevalue("sandbox") if uses_demo(page) else tmp_path)
    with torch.random.fork_rng():
        names = run_python(programs(page))
    register_all_modules()
    # Pieces of a config: what they name must exist and take these arguments.
    for hook in names.get("default_hooks", {}).values():
        HOOKS.build(hook)
    for backend in names.get("visualizer", {}).get("vis_backends", []):
        assert VISBACKENDS.get(backend["type"])
    if page.name == "your_detector.md":
        # What its table says of 5 % wrong labels.
        plain, harmonized = (sum(scores) for scores in names["measured"].values())
        assert harmonized > plain


def test_functions_need_torch_alone(tmp_path: Path) -> None:
    """The plain PyTorch snippets, in a process where OpenMMLab's packages cannot be imported."""
    program = tmp_path / "program.py"
    alone = [s for s in SNIPPETS if s.page.name == "concepts.md" or s.section == "In plain PyTorch"]
    texts = [s.text for s in alone if s.language == "python"]
    texts += [s.text for s in snippets_of(REPO / "README.md") if s.language == "python"]
    assert len(texts) >= 8
    blocked = ("mmengine", "mmcv", "mmdet", "sklearn", "rich", "cv2", "pycocotools")
    program.write_text(
        f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\n"
        + "\n".join(texts)
        + "\nloaded = [name for name in sys.modules if name.startswith('ghm_mmdet')]\n"
        "rooms = ('ghm_mmdet.functional', 'ghm_mmdet.ops')\n"
        "assert all(name == 'ghm_mmdet' or name.startswith(rooms) for name in loaded), loaded\n"
        "print('torch alone')\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(REPO)),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("torch alone\n")


@pytest.mark.parametrize("snippet", parameters([s for s in SNIPPETS if s.is_config]))
def test_config_trains_a_step(snippet: Snippet, tmp_path: Path) -> None:
    register_all_modules()
    path = tmp_path / "config.py"
    path.write_text(snippet.text)
    config = Config.fromfile(path)
    # No pretrained weights: they would have to be downloaded.
    config.model.backbone.init_cfg = None
    model = Runner.build_model(None, config.model)
    assert any(type(module).__module__.startswith("ghm_mmdet.losses") for module in model.modules())
    model.init_weights()
    for hook in config.get("custom_hooks", []):
        HOOKS.build(hook)
    torch.manual_seed(0)
    batch = demo_mm_inputs(2, (3, 64, 96), num_items=[3, 2], num_classes=80)
    logged = model.train().train_step(batch, build_optim_wrapper(model, config.optim_wrapper))
    assert logged["loss"] > 0 and all(torch.as_tensor(value).isfinite().all() for value in logged.values()), logged
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("snippet", parameters([s for s in SNIPPETS if s.language == "diff"]))
def test_diff_fits_mmdets_config(snippet: Snippet) -> None:
    """Its - lines are what mmdet's RetinaNet has, its + lines build."""
    register_all_modules()
    head = get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py").model.bbox_head
    removed, added = (
        eval("dict(" + "".join(line[1:] for line in snippet.text.splitlines() if line[0] == sign) + ")")
        for sign in "-+"
    )
    assert {"type", "loss_cls"} == set(removed) and all(head[name] == value for name, value in removed.items())
    built = MODELS.build({**head, **added})
    assert built.density_scope == "batch"
    for name in ("loss_cls", "loss_bbox"):
        assert type(getattr(built, name)).__module__.startswith("ghm_mmdet.losses")


@pytest.mark.parametrize("snippet", parameters([s for s in SNIPPETS if s.language == "json"]))
def test_json_is_json(snippet: Snippet) -> None:
    assert json.loads(snippet.text)


DOCUMENTED = [
    pytest.param(snippet, words, id=f"{snippet}: {shlex.join(words)}")
    for snippet in SNIPPETS
    if snippet.language == "bash"
    for words in snippet.commands()
]


@pytest.mark.parametrize(("snippet", "words"), DOCUMENTED)
def test_command_is_understood(snippet: Snippet, words: list[str], tmp_path: Path, capsys) -> None:
    """By the parser of the program that it calls; a program that this does not know fails."""
    check_command(words, tmp_path)


def check_command(words: list[str], tmp_path: Path) -> None:
    while re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
        words = words[1:]
    match words:
        case ["make", *targets]:
            assert subprocess.run(["make", "-n", *targets], cwd=REPO, capture_output=True).returncode == 0
        case ["python", "-m", "ghm_mmdet"] | ["ghm-mmdet"]:
            pass  # run in the sandbox
        case ["python", "-m", "ghm_mmdet", name, *arguments] | ["ghm-mmdet", name, *arguments]:
            assert name in COMMANDS
            check_arguments(name, arguments)
        case ["python", script, *arguments] if script.startswith("tools/"):
            assert script.removeprefix("tools/") in TOOLS, f"say in TOOLS how {script} is checked"
            check_tool(script, arguments)
        case ["bash", script, *arguments] if script.startswith("tools/"):
            check_shell_tool(script, arguments, tmp_path)
        case ["bash", "tools/setup_env.sh"]:
            pass
        case ["pip", "install", *rest]:
            # tests/docs/test_wheel.py installs; here the options are read by pip, which then finds no such folder.
            rest = [word if word.startswith("-") else str(tmp_path / "none") for word in rest]
            done = subprocess.run([sys.executable, "-m", "pip", "install", *rest], capture_output=True, text=True)
            assert done.returncode == 1 and "no such option" not in done.stderr, done.stderr
        case ["git", "clone", address]:
            assert address.startswith("https://")
        case ["export", *variables]:
            assert all(re.match(r"[A-Z_]+=\S", variable) for variable in variables)
        case ["source", ".venv/bin/activate"]:
            assert "-m venv" in (REPO / "tools" / "setup_env.sh").read_text()
        case [".venv/bin/pytest", *options]:
            assert pytest.Config.fromdictargs({}, options)
        case _:
            pytest.fail(f"teach this test what {words[0]} is: {shlex.join(words)}")


def check_tool(script: str, arguments: list[str]) -> None:
    """The real parser takes the arguments, and the configs among them load with the options."""
    name = script.removeprefix("tools/").removesuffix(".py")
    name = FORMER_NAMES.get(name, name)
    assert f'run_command("{name}")' in (REPO / script).read_text()
    check_arguments(name, arguments)


def check_arguments(name: str, arguments: list[str]) -> None:
    args = make_parser(name).parse_args(arguments)
    for argument in arguments:
        if argument.startswith("configs/studies/"):
            # A plan of many runs, and not a config.
            assert (REPO / argument).is_file()
        elif argument.startswith("configs/"):
            load_config(str(REPO / argument), getattr(args, "cfg_options", []), work_dir=None, launcher="none")


def check_shell_tool(script: str, arguments: list[str], tmp_path: Path) -> None:
    """The script runs, with stand-ins for python and srun that print what they are given, which check_tool reads."""
    stand_in = "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n"
    for program in ("python", "srun"):
        (tmp_path / program).write_text(stand_in)
        (tmp_path / program).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(REPO / script), *arguments], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    (place,) = [index for index, word in enumerate(given) if re.search(r"/tools/(train|test)\.py$", word)]
    check_tool(f"tools/{Path(given[place]).name}", given[place + 1 :])


def runs_in_sandbox(words: list[str]) -> bool:
    if words[:3] == ["python", "-m", "ghm_mmdet"]:
        return len(words) == 3
    if words[0] != "python" or not words[1].startswith("tools/"):
        return False
    kind = TOOLS.get(words[1].removeprefix("tools/"))
    return kind == "run" or (kind != HOURS and any(DIGITS.search(word) for word in words))


DEMO_COMMANDS = {
    page: [p.values[1] for p in DOCUMENTED if p.values[0].page == page and runs_in_sandbox(p.values[1])]
    for page in PAGES
}
ran: set[str] = set()


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(p, id=p.name) for p, commands in DEMO_COMMANDS.items() if commands])
def test_commands_about_the_digits_run(page: Path, sandbox: Path) -> None:
    """One after the other, those that another page has had already left out."""
    names = {"CONFIG": CONFIG, "CHECKPOINT": str(CHECKPOINT), "WORK_DIR": str(CHECKPOINT.parent)}
    for words in DEMO_COMMANDS[page]:
        line = shlex.join([*(names.get(word, word) for word in words), *FEWER.get(Path(words[1]).name, [])])
        if line in ran:
            continue
        _, program, *arguments = shlex.split(line)
        if program == "-m":
            command = [sys.executable, program, *arguments]
            env = environment(PYTHONPATH=str(REPO))
            done = subprocess.run(command, cwd=sandbox, capture_output=True, text=True, env=env, timeout=600)
        else:
            done = run_tool(program.removeprefix("tools/"), *arguments, cwd=sandbox)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout
        ran.add(line)
