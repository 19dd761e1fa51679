//! One more field in every encoded structure, as the next version might have. `make chaos` builds programs with
//! it, for a rolling update and its rollback; without it, no byte changes.

/// The field's name and its value, a map: no program may take it for a field that it knows.
const FIELD: &[u8] = b"\xabfield-added\x81\xa4more\x93\x01\x02\xc0";

/// MessagePack's maps of at most 15 pairs begin with this and their length.
const SHORT_MAP: u8 = 0x80;
const SHORT_MAP_MAX: u8 = 0x8f;

/// Adds it to a structure behind the version's byte. A choice (Ok, Err, Hello) is a map of one pair as well, whose name
/// begins with a capital letter; it has a name and no fields, so it stays.
pub(super) fn grow(bytes: &mut Vec<u8>) {
    let [_, head @ SHORT_MAP..SHORT_MAP_MAX, _, letter, ..] = bytes[..] else { return };
    if letter.is_ascii_lowercase() {
        bytes[1] = head + 1;
        bytes.splice(2..2, FIELD.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use crate::control::{Beat, Says};
    use crate::ids::NodeId;
    use crate::{Reject, decode, encode};

    #[test]
    fn a_structure_has_one_field_more_and_is_understood() {
        let beat = Beat { node: NodeId(7), says: Says::Here };
        let bytes = encode(&beat);
        assert!(bytes.windows(super::FIELD.len()).any(|window| window == super::FIELD), "{bytes:?}");
        assert_eq!(decode::<Beat>(&bytes), Ok(beat));
        let refused = Err::<String, Reject>(Reject::Busy);
        assert_eq!(decode::<Result<String, Reject>>(&encode(&refused)), Ok(refused));
    }
}
