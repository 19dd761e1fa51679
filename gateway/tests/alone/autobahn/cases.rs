//! The cases. Ids, octets and expectations are the suite's.

use super::Heard::{Binary, Pong, Text, Timeout};
use super::Step::{self, Chop, Wait, Write};
use super::{Case, End, Heard};
use crate::raw;

const HELLO: &[u8] = b"Hello, world!";
/// "κόσμε"
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
/// κόσμε, a surrogate, "edited".
const BAD: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
const NOT_UTF8: &[u8] = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";

/// All of sections 1 to 7 and 10.
pub fn all() -> Vec<Case> {
    [framing(), pings(), reserved_bits(), opcodes(), fragmentation(), utf8(), closing(), misc()].concat()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw::frame(true, 0, opcode, payload)
}

fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    raw::frame(false, 0, opcode, payload)
}

/// A close frame with a code.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(8, &[&code.to_be_bytes(), reason].concat())
}

/// A message in fragments of so many octets.
fn fragmented(payload: &[u8], size: usize) -> Vec<u8> {
    let parts: Vec<_> = payload.chunks(size).collect();
    let frames = parts.iter().enumerate();
    frames.flat_map(|(at, part)| raw::frame(at + 1 == parts.len(), 0, u8::from(at == 0), part)).collect()
}

fn case(id: impl Into<String>, steps: Vec<Step>, heard: Vec<Heard>, end: End) -> Case {
    Case { id: id.into(), steps, heard, end }
}

fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    let lengths = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    for (at, len) in (1..).zip(lengths) {
        for (kind, opcode, byte) in [(1, 1, b'*'), (2, 2, 0xfe)] {
            let payload = vec![byte; len];
            let bytes = frame(opcode, &payload);
            let step = if at == 8 { Chop(997, bytes) } else { Write(bytes) };
            let heard = if kind == 1 { Text(payload) } else { Binary(payload) };
            cases.push(case(format!("1.{kind}.{at}"), vec![step], vec![heard], End::Ours));
        }
    }
    cases
}

fn pings() -> Vec<Case> {
    let ping =
        |id, payload: &[u8]| case(id, vec![Write(frame(9, payload))], vec![Pong(payload.into())], End::Ours);
    let unsolicited = b"unsolicited pong payload";
    let ten: Vec<_> = (0..10).map(|at| format!("payload-{at}").into_bytes()).collect();
    let pings: Vec<u8> = ten.iter().flat_map(|payload| frame(9, payload)).collect();
    let pongs: Vec<_> = ten.into_iter().map(Pong).collect();
    let nothing_but_close = |id, pong: &[u8]| {
        let steps = vec![Write(frame(10, pong)), Write(close(1000, b""))];
        case(id, steps, vec![], End::Answered(vec![1000]))
    };
    vec![
        ping("2.1", b""),
        ping("2.2", HELLO),
        ping("2.3", NOT_UTF8),
        ping("2.4", &[0xfe; 125]),
        case("2.5", vec![Write(frame(9, &[0xfe; 126]))], vec![], End::Theirs(1002)),
        case("2.6", vec![Chop(1, frame(9, &[0xfe; 125]))], vec![Pong(vec![0xfe; 125])], End::Ours),
        nothing_but_close("2.7", b""),
        nothing_but_close("2.8", unsolicited),
        case(
            "2.9",
            vec![Write(frame(10, unsolicited)), Write(frame(9, b"ping payload"))],
            vec![Pong(b"ping payload".into())],
            End::Ours,
        ),
        case("2.10", vec![Write(pings.clone())], pongs.clone(), End::Ours),
        case("2.11", vec![Chop(1, pings)], pongs, End::Ours),
    ]
}

/// A good message, a bad frame, a ping that must not be answered.
fn after_a_good_one(bad: Vec<u8>) -> Vec<u8> {
    [frame(1, HELLO), bad, frame(9, b"")].concat()
}

fn reserved_bits() -> Vec<Case> {
    let check = |id, steps, heard| case(id, steps, heard, End::Theirs(1002));
    let hello = || vec![Text(HELLO.into())];
    let bad = |rsv| after_a_good_one(raw::frame(true, rsv, 1, HELLO));
    let separate = vec![Write(frame(1, HELLO)), Write(raw::frame(true, 3, 1, HELLO)), Write(frame(9, b""))];
    vec![
        check("3.1", vec![Write(raw::frame(true, 1, 1, HELLO))], vec![]),
        check("3.2", vec![Write(bad(2))], hello()),
        check("3.3", separate, hello()),
        check("3.4", vec![Chop(1, bad(4))], hello()),
        check("3.5", vec![Write(raw::frame(true, 5, 2, NOT_UTF8))], vec![]),
        check("3.6", vec![Write(raw::frame(true, 6, 2, HELLO))], vec![]),
        check("3.7", vec![Write(raw::frame(true, 7, 8, b""))], vec![]),
    ]
}

fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, first) in [(1, 3), (2, 11)] {
        let mut check = |at: u8, step, heard| {
            cases.push(case(format!("4.{kind}.{at}"), vec![step], heard, End::Theirs(1002)));
        };
        let hello = || vec![Text(HELLO.into())];
        check(1, Write(frame(first, b"")), vec![]);
        check(2, Write(frame(first + 1, b"reserved opcode payload")), vec![]);
        check(3, Write(after_a_good_one(frame(first + 2, b""))), hello());
        check(4, Write(after_a_good_one(frame(first + 3, HELLO))), hello());
        check(5, Chop(1, after_a_good_one(frame(first + 4, HELLO))), hello());
    }
    cases
}

/// In one write, frame by frame, octet by octet.
fn three_ways(frames: &[Vec<u8>]) -> [Vec<Step>; 3] {
    let whole = frames.concat();
    [vec![Write(whole.clone())], frames.iter().cloned().map(Write).collect(), vec![Chop(1, whole)]]
}

fn fragmentation() -> Vec<Case> {
    let part = |at: u8| format!("fragment{at}").into_bytes();
    let parts = |range: std::ops::RangeInclusive<u8>| Text(range.flat_map(part).collect());
    let check = |id: u8, steps, heard, end| case(format!("5.{id}"), steps, heard, end);
    let refused = |id, steps| check(id, steps, vec![], End::Theirs(1002));
    let mut cases = Vec::new();

    cases.push(refused(1, vec![Write([fragment(9, &part(1)), frame(0, &part(2))].concat())]));
    cases.push(refused(2, vec![Write([fragment(10, &part(1)), frame(0, &part(2))].concat())]));
    let two = [fragment(1, &part(1)), frame(0, &part(2))];
    for (id, steps) in (3..).zip(three_ways(&two)) {
        cases.push(check(id, steps, vec![parts(1..=2)], End::Ours));
    }
    let ping = b"ping payload";
    let with_ping = [fragment(1, &part(1)), frame(9, ping), frame(0, &part(2))];
    for (id, steps) in (6..).zip(three_ways(&with_ping)) {
        cases.push(check(id, steps, vec![Pong(ping.into()), parts(1..=2)], End::Ours));
    }
    let nothing_to_continue = [frame(0, b"non-continuation payload"), frame(1, HELLO)];
    for (id, steps) in (9..).zip(three_ways(&nothing_to_continue)) {
        cases.push(refused(id, steps));
    }
    let nothing_to_continue = [fragment(0, b"non-continuation payload"), frame(1, HELLO)];
    for (id, steps) in (12..).zip(three_ways(&nothing_to_continue)) {
        cases.push(refused(id, steps));
    }
    let frames = [fragment(1, &part(1)), frame(0, &part(2)), fragment(0, &part(3)), frame(1, &part(4))];
    cases.push(check(15, vec![Write(frames.concat())], vec![parts(1..=2)], End::Theirs(1002)));
    let frames = [fragment(0, &part(1)), fragment(1, &part(2)), frame(0, &part(3))].concat();
    cases.push(refused(16, vec![Write(frames.repeat(2))]));
    let frames = [frame(0, &part(1)), fragment(1, &part(2)), frame(0, &part(3))].concat();
    cases.push(refused(17, vec![Write(frames.repeat(2))]));
    cases.push(refused(18, vec![Write([fragment(1, &part(1)), frame(1, &part(2))].concat())]));

    let first = [fragment(1, &part(1)), fragment(0, &part(2)), frame(9, b"pongme 1!")];
    let second = [fragment(0, &part(3)), fragment(0, &part(4)), frame(9, b"pongme 2!"), frame(0, &part(5))];
    // The first ping is answered before the rest is sent: its pong comes before the timeout.
    let heard = vec![Pong(b"pongme 1!".into()), Timeout, Pong(b"pongme 2!".into()), parts(1..=5)];
    let whole = vec![Write(first.concat()), Wait, Write(second.concat())];
    cases.push(check(19, whole, heard.clone(), End::Ours));
    let separate = first.into_iter().map(Write).chain([Wait]).chain(second.into_iter().map(Write));
    cases.push(check(20, separate.collect(), heard, End::Ours));
    cases
}

fn utf8() -> Vec<Case> {
    let hello = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let echoed = |id, bytes: Vec<u8>, payload: &[u8]| {
        case(id, vec![Write(bytes)], vec![Text(payload.into())], End::Ours)
    };
    let refused = |id, bytes| case(id, vec![Write(bytes)], vec![], End::Theirs(1007));
    let three = |middle: &[u8]| [fragment(1, b""), fragment(0, middle), frame(0, b"")].concat();
    let (left, right) = ("Hello-µ@ßöä".as_bytes(), "üàá-UTF-8!!".as_bytes());
    let mut cases = vec![
        echoed("6.1.1", frame(1, b""), b""),
        echoed("6.1.2", three(b""), b""),
        echoed("6.1.3", three(b"middle frame payload"), b"middle frame payload"),
        echoed("6.2.1", frame(1, hello), hello),
        echoed("6.2.2", [fragment(1, left), frame(0, right)].concat(), hello),
        echoed("6.2.3", fragmented(hello, 1), hello),
        echoed("6.2.4", fragmented(KOSME, 1), KOSME),
        refused("6.3.1", frame(1, BAD)),
        refused("6.3.2", fragmented(BAD, 1)),
    ];

    // Fail fast: refused before the last part is sent.
    let beyond = [KOSME, b"\xf4\x90\x80\x80", b"edited"];
    let whole = beyond.concat();
    let at_the_octet = [&whole[..12], &whole[12..13], &whole[13..]];
    for (id, [one, two, three]) in [("6.4.1", beyond), ("6.4.2", at_the_octet)] {
        let steps =
            vec![Write(fragment(1, one)), Wait, Write(fragment(0, two)), Wait, Write(frame(0, three))];
        cases.push(case(id, steps, vec![Timeout], End::Theirs(1007)));
    }
    for (id, [one, two, _]) in [("6.4.3", beyond), ("6.4.4", at_the_octet)] {
        let mut first = frame(1, &whole);
        let mut second = first.split_off(6 + one.len());
        let third = second.split_off(two.len());
        let steps = vec![Write(first), Wait, Write(second), Wait, Write(third)];
        cases.push(case(id, steps, vec![Timeout], End::Theirs(1007)));
    }

    for (section, sequences) in (5..).zip(utf8_sequences()) {
        for (at, (valid, bytes)) in (1..).zip(sequences) {
            let id = format!("6.{section}.{at}");
            let steps = vec![Write(frame(1, &bytes))];
            cases.push(match valid {
                true => case(id, steps, vec![Text(bytes)], End::Ours),
                false => case(id, steps, vec![], End::Theirs(1007)),
            });
        }
    }
    cases
}

/// Markus Kuhn's UTF-8 stress test as the suite has it: 6.5 to 6.23.
fn utf8_sequences() -> Vec<Vec<(bool, Vec<u8>)>> {
    fn all(valid: bool, sequences: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        sequences.iter().map(|bytes| (valid, bytes.to_vec())).collect()
    }
    let prefixes = (1..=KOSME.len()).map(|len| {
        // Its characters end at these octets.
        ([2, 5, 7, 9, 11].contains(&len), KOSME[..len].to_vec())
    });
    let starts = [0xc0..0xdf, 0xe0..0xef, 0xf0..0xf7, 0xf8..0xfb, 0xfc..0xfd_u8];
    let lonely = starts.into_iter().map(|range| (false, range.flat_map(|byte| [byte, b' ']).collect()));
    let cut: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let mut boundaries = all(true, &[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"]);
    boundaries.extend(all(false, &[b"\xf4\x90\x80\x80"]));
    let mut continuations = all(
        false,
        &[
            b"\x80",
            b"\xbf",
            b"\x80\xbf",
            b"\x80\xbf\x80",
            b"\x80\xbf\x80\xbf",
            b"\x80\xbf\x80\xbf\x80",
            b"\x80\xbf\x80\xbf\x80\xbf",
        ],
    );
    continuations.push((false, (0x80..0xbf).collect()));
    let surrogates: [&[u8]; 7] = [
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xbe\x80",
        b"\xed\xbf\xbf",
    ];
    let mut pairs = Vec::new();
    for high in &surrogates[..4] {
        for low in [b"\xed\xb0\x80", b"\xed\xbf\xbf"] {
            pairs.push((false, [*high, low].concat()));
        }
    }
    let mut noncharacters = all(true, &[b"\xef\xbf\xbe", b"\xef\xbf\xbf"]);
    for first in 0xf0..=0xf4 {
        for second in [0x8f, 0x9f, 0xaf, 0xbf] {
            // Overlong, or beyond U+10FFFF.
            let (overlong, beyond) = (first == 0xf0 && second == 0x8f, first == 0xf4 && second != 0x8f);
            if !overlong && !beyond {
                noncharacters.extend([0xbe, 0xbf].map(|last| (true, vec![first, second, 0xbf, last])));
            }
        }
    }
    let specials = (0xb9..=0xbf).map(|last| (true, vec![0xef, 0xbf, last]));

    vec![
        all(
            true,
            &[
                b"hello\x24world",
                b"hello\xc2\xa2world",
                b"hello\xe2\x82\xacworld",
                b"hello\xf0\xa4\xad\xa2world",
                KOSME,
            ],
        ),
        prefixes.collect(),
        all(true, &[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        all(false, &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        all(true, &[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        all(false, &[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        boundaries,
        continuations,
        lonely.collect(),
        all(false, &cut),
        vec![(false, cut.concat())],
        all(false, &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        all(
            false,
            &[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ],
        ),
        all(
            false,
            &[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ],
        ),
        all(
            false,
            &[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ],
        ),
        all(false, &surrogates),
        pairs,
        noncharacters,
        specials.collect(),
    ]
}

fn closing() -> Vec<Case> {
    let hello = b"Hello World!";
    let normal = || close(1000, b"");
    let check = |id: &str, bytes: Vec<u8>, codes: &[u16]| {
        case(id, vec![Write(bytes)], vec![], End::Answered(codes.into()))
    };
    let mut cases = vec![
        case("7.1.1", vec![Write(frame(1, hello))], vec![Text(hello.into())], End::Ours),
        check("7.1.2", [normal(), frame(8, b"")].concat(), &[1000]),
        check("7.1.3", [normal(), frame(9, b"")].concat(), &[1000]),
        check("7.1.4", [normal(), frame(1, hello)].concat(), &[1000]),
        check("7.1.5", [fragment(1, b"fragment1"), normal(), frame(0, b"fragment2")].concat(), &[1000]),
        case(
            "7.1.6",
            vec![Write(
                [
                    frame(1, &b"BAsd7&jh23".repeat(26_215)[..256 << 10]),
                    frame(1, hello),
                    normal(),
                    frame(9, b""),
                ]
                .concat(),
            )],
            vec![],
            End::Informational,
        ),
        check("7.3.1", frame(8, b""), &[0]),
        check("7.3.2", frame(8, b"a"), &[1002]),
        check("7.3.3", normal(), &[1000]),
        check("7.3.4", close(1000, hello), &[1000]),
        check("7.3.5", close(1000, &[b'*'; 123]), &[1000]),
        check("7.3.6", close(1000, &[b'*'; 124]), &[1002]),
        check("7.5.1", close(1000, BAD), &[1002, 1007]),
    ];
    let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    for (at, code) in (1..).zip(valid) {
        cases.push(check(&format!("7.7.{at}"), close(code, b""), &[1000, code]));
    }
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    for (at, code) in (1..).zip(invalid) {
        cases.push(check(&format!("7.9.{at}"), close(code, b""), &[1002]));
    }
    for (at, code) in (1..).zip([5_000, 65_535]) {
        let id = format!("7.13.{at}");
        cases.push(case(id, vec![Write(close(code, b""))], vec![], End::Informational));
    }
    cases
}

fn misc() -> Vec<Case> {
    let payload = [b'*'; 65_536];
    let bytes = fragmented(&payload, 1_300);
    vec![case("10.1.1", vec![Write(bytes)], vec![Text(payload.into())], End::Ours)]
}
