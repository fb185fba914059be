//! Which names a file may have at a destination.

/// Longest part of a name between slashes, in bytes: what file systems allow.
const PART_BYTES_MAX: usize = 255;

/// Longest name, in bytes: what S3 allows for a key.
pub(super) const NAME_BYTES_MAX: usize = 1024;

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
}
