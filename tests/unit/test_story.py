"""What a node's log says about the cluster: what is new, once, and nothing that was over at once."""

from logging import INFO, WARNING

from raftsman.node.story import Line, Story
from raftsman.raft.figures import Standing


def at(leader: str | None, term: int, *, me: str = "alpha") -> Standing:
    return Standing(leads=leader == me, leader=leader, term=term, commit_index=0, applied_index=0)


def told(story: Story, *looks: tuple[float, Standing], waits_for: str = "", silent: tuple[str, ...] = ()) -> list[Line]:
    return [line for now, there in looks for line in story.standing(now, there, waits_for=waits_for, silent=silent)]


def test_every_node_says_who_leads_once_for_each_term() -> None:
    looks = [(0.0, at("beta", 1)), (0.5, at("beta", 1)), (1.0, at("alpha", 2)), (1.5, at("alpha", 2))]
    assert told(Story("alpha"), *looks) == [(INFO, "beta leads, term 1"), (INFO, "this node leads, term 2")]


def test_an_election_that_goes_well_is_no_news() -> None:
    looks = [(0.0, at("beta", 1)), (1.0, at(None, 1)), (2.5, at(None, 2)), (2.9, at("gamma", 2))]
    assert told(Story("alpha"), *looks) == [(INFO, "beta leads, term 1"), (INFO, "gamma leads, term 2")]


def test_a_cluster_without_a_leader_is_told_once_with_who_is_silent_and_so_is_its_end() -> None:
    story = Story("alpha")
    assert told(story, (0.0, at("beta", 1))) == [(INFO, "beta leads, term 1")]
    looks = [(float(second), at(None, 1)) for second in range(60)]
    missing = "no leader is known: nothing can be accepted; silent: beta, gamma"
    assert told(story, *looks, silent=("gamma", "beta")) == [(WARNING, missing)]
    assert told(story, (60.0, at("beta", 1))) == [(INFO, "beta leads, term 1")]
    more = [(70.0, at("beta", 1)), (80.0, at(None, 1)), (90.0, at(None, 1))]
    assert told(story, *more, silent=("gamma", "beta")) == [(WARNING, missing)], "and again when it happens again"


def test_what_a_node_waits_for_before_it_counts_is_told_when_it_lasts_and_when_it_changes() -> None:
    story = Story("alpha")
    assert told(story, (0.0, at(None, 0)), (1.0, at(None, 0)), waits_for="beta and gamma are missing") == []
    looks = [(1.5, at(None, 0)), (4.0, at(None, 0)), (5.0, at(None, 0))]
    assert told(story, *looks, waits_for="gamma is missing") == [(WARNING, "alpha waits: gamma is missing")]
    assert told(story, (6.0, at("beta", 1))) == [(INFO, "beta leads, term 1")]


def test_the_leader_says_who_is_lost_and_who_is_back() -> None:
    story = Story("alpha")
    assert story.members([]) == []
    assert story.members(["alpha"]) == [], "it has only just been away, and leads"
    assert story.members(["gamma"]) == [(WARNING, "gamma is lost: it does not answer the leader")]
    assert story.members(["gamma"]) == []
    (lost, back) = story.members(["beta"])
    assert (lost, back) == ((WARNING, "beta is lost: it does not answer the leader"), (INFO, "gamma is back"))
