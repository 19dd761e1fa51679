//! Texts by which users recognize each other: e-mails, names, titles; and passwords. Pure.
//!
//! Two texts that look the same are the same here: one keyboard composes Vietnamese letters, another
//! writes them in pieces. E-mails contain no invisible characters, and names do not consist of them.

use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// An e-mail as it is compared and kept: NFKC, lower-cased, without space around it.
pub fn email(text: &str) -> String {
    // Lower-casing may take a composed letter to pieces.
    text.nfkc().collect::<String>().trim().to_lowercase().nfkc().collect()
}

/// The ways in which an older version may have kept this e-mail, today's first.
pub fn emails(text: &str) -> Vec<String> {
    let today = email(text);
    let typed = text.trim().to_lowercase();
    let apart = today.nfd().collect::<String>();
    let mut ways = vec![today];
    for way in [typed, apart] {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// Something, an `@`, something with a dot, nothing invisible.
pub fn is_email(email: &str) -> bool {
    email.split_once('@').is_some_and(|(user, host)| {
        let host_ok = host.split('.').count() >= 2 && host.split('.').all(|label| !label.is_empty());
        !user.is_empty() && host_ok && !host.contains('@') && email.chars().all(is_visible)
    })
}

/// A password as it is hashed (NIST SP 800-63B: NFKC).
pub fn password(text: &str) -> String {
    text.nfkc().collect()
}

/// The ways in which an older version, which hashed what was typed, may have hashed this password;
/// today's first.
pub fn passwords(text: &str) -> Vec<String> {
    let today = password(text);
    let mut ways = vec![today];
    for way in [text.to_owned(), text.nfc().collect(), text.nfd().collect()] {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// Why a name or a title cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing of it can be seen.
    Empty,
    /// It has characters that are not seen, or that turn the direction of what follows.
    Invisible,
}

/// A name or a title as it is kept: NFC. Joiners and variation selectors, of which emoji and some
/// scripts are made, may stand between visible characters.
///
/// # Errors
/// What is wrong with it.
pub fn label(text: &str) -> Result<String, Unfit> {
    let label: String = text.nfc().collect();
    if !label.chars().any(is_visible) {
        return Err(Unfit::Empty);
    }
    let is_fit = |c: char| is_visible(c) || is_joining(c) || is_space(c);
    if label.chars().all(is_fit) { Ok(label) } else { Err(Unfit::Invisible) }
}

/// Whether a character leaves a mark of its own.
fn is_visible(c: char) -> bool {
    let is_ink = !matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    );
    is_ink && !is_ignorable(c)
}

/// Spaces inside a name. Lines and paragraphs are none.
fn is_space(c: char) -> bool {
    c.general_category() == GeneralCategory::SpaceSeparator
}

/// Part of what is seen: ZWNJ, ZWJ, variation selectors, and the tags in flags of regions.
fn is_joining(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007f}')
}

/// Unicode's Default_Ignorable_Code_Point, where the general category does not say so already; and the
/// empty braille cell.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of each kind: zero width, soft hyphen, bidi, byte order mark, fillers, line, tag, control.
    const UNSEEN: &str = "\u{200b}\u{2060}\u{ad}\u{202e}\u{2066}\u{200e}\u{61c}\u{feff}\u{3164}\u{ffa0}\u{115f}\u{34f}\
                          \u{180e}\u{2800}\u{2028}\u{2029}\u{e0001}\u{e0100}\u{7f}\u{85}\u{fff9}\u{e000}\u{378}";

    #[test]
    fn an_email_has_nothing_invisible() {
        for c in UNSEEN.chars().chain("\u{200c}\u{200d}\u{fe0f} \u{a0}\u{3000}".chars()) {
            for place in
                [format!("ann{c}@example.org"), format!("{c}ann@example.org"), format!("ann@exam{c}ple.org")]
            {
                assert!(!is_email(&place), "U+{:04X}", u32::from(c));
            }
        }
        for good in ["ann@example.org", "ánh@ví-dụ.vn", "用户@例子.广告"] {
            assert!(is_email(good), "{good}");
        }
    }

    #[test]
    fn a_name_has_something_to_see_and_nothing_that_hides() {
        for c in UNSEEN.chars() {
            let code = u32::from(c);
            assert_eq!(label(&c.to_string()), Err(Unfit::Empty), "U+{code:04X}");
            assert_eq!(label(&format!("An{c}h")), Err(Unfit::Invisible), "U+{code:04X}");
        }
        for empty in ["", "  ", "\u{3000}", "\u{200d}\u{fe0f}", "\u{200c}"] {
            assert_eq!(label(empty), Err(Unfit::Empty), "{empty:?}");
        }
        for good in [
            "Ánh Trần",
            "👩‍👩‍👧 ❤️",
            "می‌خواهم",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "नमस्ते",
        ] {
            assert!(label(good).is_ok(), "{good}");
        }
        assert_eq!(label("A\u{301}nh").unwrap(), "\u{c1}nh");
    }

    #[test]
    fn what_looks_the_same_is_the_same() {
        assert_eq!(email(" A\u{301}NH@Example.org"), email("\u{e1}nh@example.org"));
        assert_eq!(email("ａｎｎ@example.org"), "ann@example.org");
        assert_eq!(password("mật khẩu"), password(&"mật khẩu".nfd().collect::<String>()));
        assert_ne!(password("mật khẩu"), password("mat khau"));
        assert_ne!(password("Secret"), password("secret"), "a password is not folded");
    }

    #[test]
    fn plain_texts_have_one_way_and_others_those_of_before() {
        assert_eq!(emails(" Ann@Example.org"), ["ann@example.org"]);
        assert_eq!(passwords("useruser"), ["useruser"]);
        let (composed, apart) = ("\u{1ead}", "\u{61}\u{323}\u{302}");
        assert_eq!(passwords(composed), [composed, apart]);
        assert_eq!(passwords(apart), [composed, apart]);
        assert!(emails(&format!("{composed}@b.vn")).contains(&format!("{apart}@b.vn")));
    }
}
