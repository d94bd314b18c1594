//! Chance that comes out the same for the same seed.

/// A small generator (xorshift64*); good enough to choose with.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let scrambled = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        usize::try_from((scrambled >> 33) % sides as u64).expect("it is below a usize")
    }
}

/// One seed makes one and the same storm.
/// spec: server-server-api/#room-state-resolution
/// not on synapse: no server takes part
#[test]
fn chance_depends_on_the_seed_alone() {
    let rolls = |seed| {
        let mut dice = Dice::new(seed);
        (0..20).map(|_| dice.roll(6)).collect::<Vec<_>>()
    };
    assert_eq!(rolls(7), rolls(7));
    assert_ne!(rolls(7), rolls(8));
    assert!(rolls(7).iter().all(|roll| *roll < 6));
}
