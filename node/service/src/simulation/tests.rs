//! The worlds that are lived through.

use std::ops::Range;
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

/// Lives through every eighth world, or through those that are asked for.
fn live_eighth(which: u64) {
    let worlds = std::env::var(HOW_MANY).map_or(WORLDS, |text| number(&text));
    let seeds = std::env::var(SEED).map_or(0..worlds, |asked| these(&asked));
    let seeds = seeds.filter(|seed| seed % 8 == which);
    let wrong: Vec<u64> = seeds.filter(|seed| !live(*seed, SMALL)).collect();
    assert!(wrong.is_empty(), "the worlds of these seeds went wrong: {wrong:?}");
}

/// `7`, or `0..100`.
fn these(asked: &str) -> Range<u64> {
    match asked.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(asked)..number(asked) + 1,
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// In parts, so that as many are lived through at once as there are processors.
macro_rules! the_rules_hold_in {
    ($($name:ident: $which:literal),*) => {
        mod the_rules_hold_in {
            $(#[test]
            fn $name() {
                super::live_eighth($which);
            })*
        }
    };
}

the_rules_hold_in! {
    the_first_eighth_of_the_worlds: 0,
    the_second_eighth_of_the_worlds: 1,
    the_third_eighth_of_the_worlds: 2,
    the_fourth_eighth_of_the_worlds: 3,
    the_fifth_eighth_of_the_worlds: 4,
    the_sixth_eighth_of_the_worlds: 5,
    the_seventh_eighth_of_the_worlds: 6,
    the_last_eighth_of_the_worlds: 7
}

#[test]
fn the_same_seed_has_the_same_history() {
    let mut told = 0;
    let mut history = |seed| {
        let mut world = World::new(seed, SMALL);
        world.live();
        told += world.oracle.webhooks.told();
        world.journal.tell().collect::<Vec<_>>()
    };
    for seed in 0..4 {
        let (one, other) = (history(seed), history(seed));
        assert!(one.len() > 20, "seed {seed}: next to nothing happened");
        assert_eq!(one, other, "seed {seed}");
    }
    assert!(told > 20, "next to nothing is told by webhooks: {told}");
}
