"""What `wmtp score` runs, beside `commands`, the table."""

from pathlib import Path
from typing import TYPE_CHECKING

from weighted_mtp.cli.grammar import PROGRAM
from weighted_mtp.cli.rows import console
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import say
from weighted_mtp.training.score_settings import ScoreConfig

if TYPE_CHECKING:
    from weighted_mtp.evaluation.critic_skill import CriticSkill


def score(settings: ScoreConfig) -> None:
    """`wmtp score`: the scores, what their critic knows, and how to train on them."""
    from weighted_mtp.training.early_checks import check_score

    check_score(settings)
    quiet_libraries()
    from weighted_mtp.data.exact_parquet import unfinished_shards
    from weighted_mtp.evaluation.critic_checks import quality_of_scores
    from weighted_mtp.evaluation.critic_quality import print_critic_quality
    from weighted_mtp.evaluation.cross_fit import folders_out_of_fold, seen_in_training, skill_of_scores
    from weighted_mtp.training.scoring import score as write_scores

    scored = write_scores(settings)
    say(scored.summary())
    finished, skill = not unfinished_shards(Path(settings.out)), None
    if finished and scored.labelled:
        skill = skill_of_scores(settings)
        seen = None if skill and not settings.cross_fit else seen_in_training(settings)
        was = f"the critic {'was' if seen else 'may have been'} trained on these prompts"
        first, *more = skill.lines if skill else [f"{was}: give --cross_fit 3 to know what it knows"]
        plain = {"highlight": False, "markup": False, "soft_wrap": True}
        console().print(first, style="bold", **plain)
        for line in more:
            console().print(line, **plain)
        folds = folders_out_of_fold(settings)
        quality, known = quality_of_scores(folds or settings.out, settings.critic, settings.gamma, settings.turns)
        if folds:
            say("out of fold, by critics that were not trained on these prompts:")
        elif seen:
            say("on prompts that the critic was trained on:")
        print_critic_quality(console(), quality.as_dict(), errors_known=known)
    if finished and settings.format != "rows":
        from weighted_mtp.integrations.formats import write_format

        say(write_format(settings.format, settings.out, settings.critic, settings.max_length, settings.turns))
    if not scored.labelled:
        say(f"the rows have no labels: `p_success` in {settings.out} ranks the completions of a prompt")
        return
    say("\n".join(ways_to_train(settings, skill)))


def ways_to_train(settings: ScoreConfig, skill: "CriticSkill | None") -> list[str]:
    """The command that follows the advice, and that which trains on the weights where some were asked for, or where
    nothing is known of the critic."""
    asked = settings.scheme != ScoreConfig.scheme or bool(settings.scheme_options)
    weights, gamma = f"--scheme column --train_file {settings.out}", settings.gamma
    if skill is None:
        how = weights
    elif skill.own_samples or not skill.gate:  # where the advice is right-only
        how = f"--keep right --train_file {settings.data}"
    else:
        how = f"--scheme gated --scheme_options '{{}}' --train_file {settings.out}" + f" --gamma {gamma}" * (gamma != 1)
    end = " --turns last" * (settings.turns == "last") + " ..."
    ways = [f"train on them with: {PROGRAM} train baseline {how}{end}"]
    if asked and skill is not None:
        ways.append(f"or by the weights of scheme {settings.scheme}: {PROGRAM} train baseline {weights}{end}")
    return ways
