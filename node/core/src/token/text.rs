//! What a token looks like.

use conclave_ports::Ports;
use zeroize::Zeroizing;

/// Characters after the prefix: 142 bits.
const RANDOM_CHARACTERS: usize = 24;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a service token: `hvs.` and 24 characters, as log redactors know it.
pub(crate) fn make_text(ports: &Ports) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(4 + RANDOM_CHARACTERS));
    text.push_str("hvs.");
    text.push_str(&make_base62(ports));
    text
}

/// 24 characters, each uniform over 62: the six bits of a byte that are above 61 are drawn again.
pub(crate) fn make_base62(ports: &Ports) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(RANDOM_CHARACTERS));
    while text.len() < RANDOM_CHARACTERS {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(ports.random());
        let characters = bytes.iter().filter_map(|byte| BASE62.get(usize::from(byte & 63)));
        let missing = RANDOM_CHARACTERS - text.len();
        text.extend(characters.take(missing).map(|byte| char::from(*byte)));
    }
    text
}
