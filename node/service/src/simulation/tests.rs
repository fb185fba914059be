//! The worlds that are lived through.

use std::panic::catch_unwind;

use super::world::{Size, World};

/// Worlds in all, each with ten recordings, unless [`HOW_MANY`] says another number.
const WORLDS: u64 = 1_000;
const HOW_MANY: &str = "HOLDFAST_SIM_WORLDS";
const SMALL: Size = Size { recordings: 10, days: 40 };
/// The one that is lived again, or a range of them, instead of all.
const SEED: &str = "HOLDFAST_SIM_SEED";

/// Lives through a world; one that goes wrong prints its journal.
fn live(seed: u64, size: Size) -> bool {
    let is_right = catch_unwind(|| World::new(seed, size).live()).is_ok();
    super::set_here(None);
    is_right
}

/// Lives through every other world, or through those that are asked for.
fn live_half(first: u64) {
    let worlds = std::env::var(HOW_MANY).map_or(WORLDS, |text| number(&text));
    let asked = std::env::var(SEED).ok();
    let seeds: Vec<u64> = match &asked {
        // The other half has nothing to do then.
        Some(asked) => these(asked).into_iter().filter(|_| first == 0).collect(),
        None => (first..worlds).step_by(2).collect(),
    };
    let wrong: Vec<u64> = seeds.into_iter().filter(|seed| !live(*seed, SMALL)).collect();
    assert!(wrong.is_empty(), "the worlds of these seeds went wrong: {wrong:?}");
}

/// `7`, or `0..100`.
fn these(asked: &str) -> Vec<u64> {
    match asked.split_once("..") {
        Some((from, to)) => (number(from)..number(to)).collect(),
        None => vec![number(asked)],
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

#[test]
fn the_rules_hold_in_every_other_world() {
    live_half(0);
}

#[test]
fn the_rules_hold_in_the_worlds_between() {
    live_half(1);
}

#[test]
fn the_same_seed_has_the_same_history() {
    let history = |seed| {
        let mut world = World::new(seed, SMALL);
        world.live();
        world.journal.tell().collect::<Vec<_>>()
    };
    for seed in 0..4 {
        let (one, other) = (history(seed), history(seed));
        assert!(one.len() > 20, "seed {seed}: next to nothing happened");
        assert_eq!(one, other, "seed {seed}");
    }
}
