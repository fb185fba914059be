//! Which names a file may have at a destination, what it is called until it is whole, and what it is
//! called where another file has its name.

/// Longest part of a name between slashes, in bytes: what file systems allow.
const PART_BYTES_MAX: usize = 255;

/// Longest name, in bytes: what S3 allows for a key.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// Most numbers that are tried for a name that is taken.
pub(super) const NUMBER_MAX: u32 = 100;

/// Longest temporary name, in bytes: it may get an ending.
const TEMPORARY_BYTES_MAX: usize = PART_BYTES_MAX - ".old".len();

/// `folder/name (2).mp4`; the name itself with number 1.
pub(super) fn numbered(name: &str, number: u32) -> String {
    if number == 1 {
        return name.to_owned();
    }
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => {
            let (stem, extension) = name.split_at(last + dot);
            format!("{stem} ({number}){extension}")
        }
        None => format!("{name} ({number})"),
    }
}

/// The name under which a file grows, beside its place. A name too long to be added to is told apart
/// by its digest.
pub(super) fn temporary(name: &str) -> String {
    let plain = format!(".{name}.part");
    if plain.len() <= TEMPORARY_BYTES_MAX {
        return plain;
    }
    let digest = crate::digest::of(name.as_bytes());
    let begin = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= 200).last();
    format!(".{}.{}.part", &name[..begin.unwrap_or(0)], &digest[..16])
}

/// The parts of a relative name, at least one.
///
/// # Errors
/// What is wrong with the name: each part must be 1 to 255 bytes, neither `.` nor `..`, without
/// control characters and backslashes; the whole at most 1,024 bytes.
pub(super) fn parts(name: &str) -> Result<Vec<&str>, String> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("it is longer than {NAME_BYTES_MAX} bytes"));
    }
    name.split('/').map(|part| check(part).map(|()| part)).collect()
}

fn check(part: &str) -> Result<(), String> {
    if part.is_empty() {
        Err("it has an empty part".into())
    } else if matches!(part, "." | "..") {
        Err(format!("it has the part {part:?}"))
    } else if part.len() > PART_BYTES_MAX {
        Err(format!("it has a part longer than {PART_BYTES_MAX} bytes"))
    } else if part.contains(|c: char| c.is_control() || c == '\\') {
        Err("it has a control character or a backslash".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_come_apart() {
        assert_eq!(parts("demo/Bună ziua.mp4").unwrap(), ["demo", "Bună ziua.mp4"]);
        assert_eq!(parts("a..b").unwrap(), ["a..b"]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", "/a", "a/", "a//b", "../a", "a/./b", "a\0b", "a\\b", "a\nb"] {
            assert!(parts(name).is_err(), "{name:?}");
        }
        assert!(parts(&"x".repeat(256)).is_err());
        assert!(parts(&"x/".repeat(600)).is_err());
    }

    #[test]
    fn a_temporary_name_is_no_longer_than_names_may_be() {
        assert_eq!(temporary("a.mp4"), ".a.mp4.part");
        for name in ["x".repeat(255), "ă".repeat(127), "🎬".repeat(63), "x".repeat(250)] {
            let short = temporary(&name);
            assert!(short.len() <= TEMPORARY_BYTES_MAX && short.ends_with(".part"), "{short}");
        }
        let (one, other) = ("x".repeat(255), format!("{}y", "x".repeat(254)));
        assert_ne!(temporary(&one), temporary(&other));
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a.mp4", 1), "a.mp4");
        assert_eq!(numbered("a.b.mp4", 2), "a.b (2).mp4");
        assert_eq!(numbered("a", 3), "a (3)");
        assert_eq!(numbered(".a", 3), ".a (3)");
        assert_eq!(numbered("a.b/c.mp4", 1), "a.b/c.mp4");
        assert_eq!(numbered("a.b/c.mp4", 2), "a.b/c (2).mp4");
        assert_eq!(numbered("a.b/c", 3), "a.b/c (3)");
        assert_eq!(numbered("a/.c", 3), "a/.c (3)");
    }
}
