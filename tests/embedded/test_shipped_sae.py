"""The autoencoder that comes with the project fits its model and gives its residuals back."""

import json

import pytest

from refusal_lens.model import load_model
from refusal_lens.prompts.files import load_prompts
from refusal_lens.resources import data_path
from refusal_lens.sparse import check_fits, quality_of, shipped_sae

KEY = "qwen-coder-0.5b"


def test_the_folder_is_small_and_says_what_was_measured():
    folder = data_path("saes", KEY)
    sae, measured = shipped_sae(KEY), json.loads((folder / "training.json").read_text())
    assert (sae.d_model, sae.site.layer) == (896, 18)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 25e6
    assert measured["site"] == str(sae.site) and 0 < measured["loss"]["recovered"] < 1
    assert {"prompts", "books"} <= measured["held_out"].keys()


@pytest.mark.slow
def test_it_gives_back_prompts_that_it_was_not_trained_on():
    model, sae = load_model(KEY), shipped_sae(KEY)
    check_fits(sae, model.n_layers, model.d_model, model.name)
    measured = json.loads((data_path("saes", KEY) / "training.json").read_text())
    assert measured["model_digest"] == model.digest
    few = load_prompts().only(split="test").first(2)
    resid = model.residuals(few, sites=(sae.site,)).tensor[:, 0, 0]
    assert quality_of(sae, resid).explained > 0.3
