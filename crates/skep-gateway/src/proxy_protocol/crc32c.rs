//! CRC-32C (Castagnoli), bit by bit: headers are short and rare.

/// Reversed polynomial of RFC 3309.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Checksum of the parts, as if they were one.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    !parts.iter().flat_map(|part| part.iter()).fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(super::crc32c(&[b"1234", b"56789"]), 0xe306_9283);
    }
}
