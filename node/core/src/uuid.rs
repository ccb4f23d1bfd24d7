//! Ids as clients expect them to look.

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn format_uuid(id: &[u8; 16]) -> String {
    let text = hex::encode(id);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_uuids() {
        assert_eq!(format_uuid(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
