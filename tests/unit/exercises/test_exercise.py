"""A check: stubs, errors, inputs changed in place, what is shown, and exercises of one's own."""

import pytest
import torch

import refusal_lens as rl


def stub(resid, direction):
    """A docstring is no answer."""
    ...


def passes(resid, direction):
    pass


def not_implemented(resid, direction):
    raise NotImplementedError


@pytest.mark.parametrize("function", [stub, passes, not_implemented, lambda x, r: ...])
def test_a_stub_is_not_written_yet_and_no_failure(function):
    feedback = rl.exercises.ablate(function)
    assert feedback.state == "not written yet" and not feedback


def test_a_function_that_computes_and_forgets_to_return_is_not_a_stub():
    def forgot(resid, direction):
        resid - direction  # noqa: B018

    feedback = rl.exercises.ablate(forgot)
    assert feedback.state == "not yet"
    assert "is None, expected a tensor of shape (2, 3, 5)" in feedback.message


def test_a_right_answer_that_changes_its_input_is_told():
    def in_place(resid, direction):
        unit = direction / direction.norm()
        resid -= (resid @ unit)[..., None] * unit
        return resid

    assert "in place" in rl.exercises.ablate(in_place).message


def test_a_value_instead_of_the_function_is_noticed():
    assert "Give the function itself" in rl.exercises.ablate(torch.ones(3)).message


def test_too_few_parameters_are_an_error_of_the_function():
    assert "TypeError" in rl.exercises.ablate(lambda resid: resid).message


def test_an_unnamed_mistake_is_shown_by_its_largest_gap():
    message = rl.exercises.ablate(lambda x, r: x + 100).message
    assert "On a direction of length 1 the result is" in message and "expected" in message


def test_a_number_may_be_a_tensor_with_one_element_or_the_other_way_round():
    def as_float(before, after):
        p, q = before.log_softmax(-1), after.log_softmax(-1)
        return float((p.exp() * (p - q)).sum(-1).mean())

    feedback = rl.exercises.mean_kl(as_float)
    assert feedback, feedback


def test_nan_is_not_the_answer():
    assert not rl.exercises.ablate(lambda x, r: x * float("nan"))


def test_grading_by_assert():
    with pytest.raises(AssertionError):
        assert rl.exercises.ablate(lambda x, r: x)


def test_shown_in_a_notebook_without_markup_of_the_learner():
    def hostile(x, r):
        raise ValueError("<script>alert(1)</script> `x`")

    page = rl.exercises.ablate(hostile)._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<code>x</code>" in page


def test_names():
    assert rl.exercises.check("ablate", stub).exercise == "ablate"
    assert "mean_difference" in dir(rl.exercises)
    with pytest.raises(rl.InputError, match="did you mean 'ablate'"):
        rl.exercises.check("ablat", stub)
    with pytest.raises(AttributeError, match="no exercise 'nothing'"):
        _ = rl.exercises.nothing


def test_an_exercise_of_ones_own():
    third = rl.exercises.Exercise(
        name="third",
        solution=lambda x: x / 3,
        gives="a third of the number",
        cases=(rl.exercises.Case("nine", (9.0,)), rl.exercises.Case("one", (1.0,))),
        mistakes=(rl.exercises.Mistake("This rounds down.", lambda x: x // 3),),
    )
    assert third(lambda x: x * (1 / 3))
    assert third(lambda x: int(x / 3)).message == "This rounds down."
    assert third(lambda x: 2 * x).message == (
        "On nine the result is 18, expected 3. In every case it is 6 times what it should be. "
        "Expected is a third of the number."
    )
