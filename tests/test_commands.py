import subprocess

import pytest

from search.commands import command_line, main

NAMES = ("search", "explore", "report", "compare", "export", "predict", "serve", "track")


def test_help_names_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().out
    for name in NAMES:
        assert f"\n    {name}" in told
        assert f"\n  pedigree {name} " in told


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: pedigree {name} ")


def test_completion_is_a_script_that_bash_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    asked = "COMP_WORDS=(pedigree exp); COMP_CWORD=1; _shtab_pedigree; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["explore", "export"]


def test_the_help_names_the_shells_that_completion_knows(capsys: pytest.CaptureFixture[str]) -> None:
    (offered,) = (action.choices for action in command_line()._actions if action.dest == "print_completion")
    assert offered is not None
    main([])
    assert f"completion script for one of {', '.join(offered)}" in " ".join(capsys.readouterr().out.split())
    for shell in offered:
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["--print-completion", shell])
        assert "pedigree" in capsys.readouterr().out


def test_search_is_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "nothing-here", "--trials", "0"]) == 2
    assert capsys.readouterr().err == "pedigree: `trials` needs 1 or more, got 0\n"
    options = {action.dest for action in command_line()._actions}
    assert "print_completion" in options


def test_a_run_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "runs/nothing"]) == 2
    assert capsys.readouterr().err == "needs the rows of a run, got no file at `runs/nothing/trials.jsonl`\n"
