//! One bit for each message of a segment. Bits past the end are zero, so an untouched bitmap costs nothing.

/// Bits by ordinal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bitmap(Vec<u64>);

impl Bitmap {
    /// Bits of one word.
    pub(super) const WORD: u32 = 64;

    /// Whether bit `at` is set.
    pub(super) fn get(&self, at: u32) -> bool {
        self.word(at / Self::WORD) >> (at % Self::WORD) & 1 == 1
    }

    /// Sets bit `at`; whether it was clear.
    pub(super) fn set(&mut self, at: u32) -> bool {
        let index = (at / Self::WORD) as usize;
        if index >= self.0.len() {
            // Doubling, as `resize` does it, would cost a half more memory for nothing: bitmaps are small.
            self.0.reserve_exact(index + 1 - self.0.len() + index / 8);
            self.0.resize(index + 1, 0);
        }
        let bit = 1 << (at % Self::WORD);
        let word = &mut self.0[index];
        let was_clear = *word & bit == 0;
        *word |= bit;
        was_clear
    }

    /// The 64 bits from `64 * index`.
    pub(super) fn word(&self, index: u32) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }

    /// All words up to the last one that was ever set.
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    /// A bitmap of these words.
    pub(super) fn from_words(words: Vec<u64>) -> Self {
        Self(words)
    }
}

/// The bits of word `index` that lie in `from..to`.
pub(super) fn mask(index: u32, from: u32, to: u32) -> u64 {
    let first = index * Bitmap::WORD;
    let low = from.saturating_sub(first).min(Bitmap::WORD);
    let high = to.saturating_sub(first).min(Bitmap::WORD);
    below(high) & !below(low)
}

fn below(count: u32) -> u64 {
    if count >= Bitmap::WORD { u64::MAX } else { (1 << count) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_once_and_read_anywhere() {
        let mut bits = Bitmap::default();
        assert!(!bits.get(1_000_000));
        assert!(bits.set(130) && !bits.set(130) && bits.set(0));
        assert!(bits.get(130) && bits.get(0) && !bits.get(129) && !bits.get(131));
        assert_eq!(bits.words(), [1, 0, 4]);
        assert_eq!(Bitmap::from_words(bits.words().to_vec()), bits);
    }

    #[test]
    fn a_mask_is_the_part_of_a_word_in_a_range() {
        for (from, to) in [(0, 0), (0, 64), (3, 64), (63, 65), (64, 128), (70, 71), (0, 200), (130, 131)] {
            for index in 0..4 {
                let expected = (0..64).filter(|bit| (from..to).contains(&(index * 64 + bit)));
                let expected = expected.fold(0_u64, |word, bit| word | 1 << bit);
                assert_eq!(mask(index, from, to), expected, "word {index} of {from}..{to}");
            }
        }
    }
}
