//! Secrets that clients hold.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hs_storage::tokens::TokenHash;
use sha2::{Digest, Sha256};

/// What a secret is for. The prefix lets scanners find leaked ones, and a reader tell them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Access,
    Refresh,
    Login,
    OpenId,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Access => "kith_at_",
            Self::Refresh => "kith_rt_",
            Self::Login => "kith_lt_",
            Self::OpenId => "kith_ot_",
        }
    }
}

/// A new secret with what is stored of it.
pub(crate) struct Secret {
    pub(crate) text: String,
    pub(crate) hash: TokenHash,
}

/// Makes a secret of 256 random bits.
pub(crate) fn generate(kind: Kind) -> Secret {
    let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let hash = hash(&text);
    Secret { text, hash }
}

/// What is stored of a secret.
pub(crate) fn hash(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}

/// Random letters that people can read out, for device ids and the like.
pub(crate) fn random_letters(alphabet: &[u8; 32], length: usize) -> String {
    (0..length).map(|_| char::from(alphabet[usize::from(rand::random::<u8>() % 32)])).collect()
}

/// Capital letters and digits without those that look alike.
pub(crate) const CAPITALS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// The same in small letters, as user ids need them.
pub(crate) const SMALL_LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_different_and_found_by_their_hash() {
        let (one, two) = (generate(Kind::Access), generate(Kind::Access));

        assert_ne!(one.text, two.text);
        assert!(one.text.starts_with("kith_at_"));
        assert_eq!(one.text.len(), "kith_at_".len() + 43);
        assert_eq!(one.hash, hash(&one.text));
    }

    #[test]
    fn alphabets_hold_no_letter_twice() {
        for alphabet in [CAPITALS, SMALL_LETTERS] {
            let mut letters = alphabet.to_vec();
            letters.sort_unstable();
            letters.dedup();
            assert_eq!(letters.len(), 32);
        }
    }
}
