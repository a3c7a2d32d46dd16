"""The rule that picks the next learning rate: it ends at a minimum, whatever the losses are."""

import math

from hypothesis import given
from hypothesis import strategies as st

from experiments.reproduction.search import OpenSearch, best_rate, first_rates, still_to_compare

RATES = (2e-5, 1e-4, 5e-4, 2.5e-3, 1.25e-2)


@given(st.lists(st.floats(0, 1) | st.just(math.inf), min_size=5, max_size=5))
def test_it_ends_with_a_rate_that_is_no_worse_than_its_neighbours(values):
    truth = dict(zip(RATES, values, strict=True))
    losses = {}
    while more := still_to_compare(RATES, losses):
        losses |= {rate: truth[rate] for rate in more}
    best = min(losses, key=losses.__getitem__)
    place = RATES.index(best)
    assert all(truth[best] <= truth[rate] for rate in RATES[max(0, place - 1) : place + 2])
    assert set(losses) >= {1e-4, 5e-4, 2.5e-3}


def test_a_search_begins_in_the_middle_and_one_rate_needs_none():
    assert first_rates(RATES) == still_to_compare(RATES, {}) == (1e-4, 5e-4, 2.5e-3)
    assert still_to_compare(RATES, {1e-4: 1.0, 2.5e-3: 2.0}) == (5e-4,)
    assert first_rates((1e-5,)) == still_to_compare((1e-5,), {}) == ()
    assert first_rates((1e-5, 1e-4)) == (1e-5, 1e-4)


def test_of_equal_losses_the_lowest_rate_is_best_in_whatever_order_they_come():
    equal = {5e-4: 0.5, 1e-4: 0.5, 2.5e-3: 0.6}
    assert best_rate(equal) == best_rate(dict(reversed(equal.items()))) == 1e-4
    assert still_to_compare(RATES, equal) == (2e-5,)


@given(st.lists(st.floats(0, 1) | st.just(math.inf), min_size=5, max_size=5), st.randoms(use_true_random=False))
def test_a_search_under_way_chooses_the_same_in_whatever_order_losses_come(values, random):
    truth = dict(zip(RATES, values, strict=True))
    search, running = OpenSearch(RATES), []
    while search.chosen is None:
        if search.next_rate is not None and (not running or random.random() < 0.5):
            running.append(search.next_rate)
            search = search.begun(search.next_rate)
            assert search.next_rate not in running
        else:
            rate = running.pop(random.randrange(len(running)))
            search = search.report(rate, truth[rate])
    assert not running and search.next_rate is None
    assert not still_to_compare(RATES, search.losses) and search.chosen == best_rate(search.losses)
