use std::collections::{BTreeSet, HashSet};

use hs_model::ids::EventNid;
use hs_storage::graph::AuthEdges;
use proptest::prelude::*;

use super::AuthGraph;

fn graph(edges: &[Vec<usize>]) -> AuthGraph {
    let mut graph = AuthGraph::default();
    // Backwards, so that levels have to be found for what comes later.
    graph.extend(edges.iter().enumerate().rev().map(|(i, auth)| AuthEdges {
        event: EventNid(i as i64),
        auth: auth.iter().map(|auth| EventNid(*auth as i64)).collect(),
    }));
    graph
}

/// The events and everything that they refer to.
fn closure(edges: &[Vec<usize>], events: &[usize]) -> HashSet<usize> {
    let mut found: HashSet<usize> = events.iter().copied().collect();
    let mut stack: Vec<usize> = events.to_vec();
    while let Some(event) = stack.pop() {
        for auth in &edges[event] {
            if found.insert(*auth) {
                stack.push(*auth);
            }
        }
    }
    found
}

/// Each event refers to a few earlier ones.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0..100_usize, 0..4), 1..40).prop_map(|raw| {
        raw.into_iter()
            .enumerate()
            .map(|(i, auth)| if i == 0 { Vec::new() } else { auth.into_iter().map(|a| a % i).collect() })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_difference_is_what_not_all_chains_have(
        edges in graphs(),
        picks in prop::collection::vec(prop::collection::vec(0..100_usize, 0..5), 2..5),
        shared in prop::collection::vec(0..100_usize, 0..5),
    ) {
        let count = edges.len();
        let sets: Vec<Vec<usize>> = picks.iter().map(|set| set.iter().map(|i| i % count).collect()).collect();
        let shared: Vec<usize> = shared.iter().map(|i| i % count).collect();
        let chains: Vec<HashSet<usize>> = sets
            .iter()
            .map(|set| closure(&edges, &set.iter().chain(&shared).copied().collect::<Vec<_>>()))
            .collect();
        let mut expected: Vec<(i64, u64)> = (0..count)
            .filter_map(|event| {
                let mask = chains.iter().enumerate().filter(|(_, chain)| chain.contains(&event));
                let mask = mask.fold(0, |mask, (i, _)| mask | 1 << i);
                (mask != 0 && mask != (1 << sets.len()) - 1).then_some((event as i64, mask))
            })
            .collect();
        expected.sort_unstable();

        let to_nids = |set: &Vec<usize>| set.iter().map(|i| EventNid(*i as i64)).collect::<Vec<_>>();
        let sets: Vec<_> = sets.iter().map(to_nids).collect();
        let found = graph(&edges).difference(&sets, to_nids(&shared));
        let mut found: Vec<(i64, u64)> = found.into_iter().map(|d| (d.event.0, d.sets)).collect();
        found.sort_unstable();

        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_subgraph_is_what_lies_between(edges in graphs(), picks in prop::collection::vec(0..100_usize, 1..6)) {
        let conflicted: BTreeSet<usize> = picks.iter().map(|i| i % edges.len()).collect();
        let below = closure(&edges, &conflicted.iter().copied().collect::<Vec<_>>());
        let expected: HashSet<EventNid> = below
            .into_iter()
            .filter(|event| closure(&edges, &[*event]).iter().any(|below| conflicted.contains(below)))
            .map(|event| EventNid(event as i64))
            .collect();

        let conflicted = conflicted.into_iter().map(|event| EventNid(event as i64)).collect();

        prop_assert_eq!(graph(&edges).subgraph(&conflicted), expected);
    }
}

#[test]
fn very_long_chains_are_no_trouble() {
    let edges: Vec<Vec<usize>> =
        (0..100_000).map(|i: usize| i.checked_sub(1).into_iter().collect()).collect();
    let graph = graph(&edges);

    let difference = graph.difference(&[vec![EventNid(99_999)], vec![EventNid(99_998)]], []);

    assert_eq!(difference.iter().map(|d| d.event).collect::<Vec<_>>(), [EventNid(99_999)]);
}

#[test]
fn cycles_come_to_an_end() {
    let graph = graph(&[vec![1], vec![0]]);

    assert_eq!(graph.difference(&[vec![EventNid(0)], vec![]], []).len(), 2);
}
