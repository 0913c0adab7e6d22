"""Where a saved model ends a text when other tools generate with it: as training ended it."""

from typing import Any

from weighted_mtp.data.chat import end_tokens, known_tokens, padding_token


def name_ends(hf_model: Any, tokenizer: Any) -> None:
    """Gives a model's configurations the end, begin and padding tokens of the tokenizer that it was trained with.

    generation_config.json and config.json both name every end, since tools read one or the other. config.json names the
    tokenizer's own padding token alone: models keep that token's embedding from learning, so it must not be the end's.
    """
    config, generation = hf_model.config.get_text_config(), hf_model.generation_config
    ends = end_tokens(tokenizer, generation.eos_token_id)
    known = known_tokens(tokenizer)
    for one in (config, generation):
        if ends:
            one.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
        if tokenizer.bos_token_id is not None or one.bos_token_id not in known:
            one.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    generation.pad_token_id = padding_token(tokenizer)
