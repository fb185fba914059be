//! What the headers of encrypted volumes say, and the kernel, in a few words each.

use serde_json::Value;

use super::words::{Lines, instant, shown, words};

/// A line for each volume that `holdfast-volume` knows; and one for what is wrong with it, for an erasure, and
/// for a key source that opened nothing.
pub(super) fn lines(lines: &mut Lines, luks: &[Value]) {
    for luks in luks {
        let name = shown(&luks["volume"]);
        if luks["header"].is_object() {
            lines.line(&format!("{name}:"), header(luks));
        }
        if let Some(problem) = words(luks, "/problem") {
            lines.line(&format!("{name}:"), problem);
        }
        for why in all(&luks["opened"], "tried") {
            lines.line(&format!("{name}:"), format!("did not open by {}", shown(why)));
        }
        for erased in all(luks, "erased") {
            let (uuid, at) = (shown(&erased["uuid"]), shown(&erased["erased_at"]));
            lines.line("erased:", format!("{name} ({uuid}), at {at}"));
        }
    }
}

fn header(luks: &Value) -> String {
    let header = &luks["header"];
    let mut parts = vec![format!(
        "{}, {} bits, sectors of {} bytes",
        shown(&header["cipher"]),
        shown(&header["key_bits"]),
        shown(&header["sector_bytes"])
    )];
    parts.push(format!("integrity {}", words(header, "/integrity").unwrap_or("none")));
    let kernel = &luks["kernel"];
    if kernel.is_object() {
        let as_header = if kernel["is_as_header"] == true { "as" } else { "NOT AS" };
        let discards = if kernel["discards"] == true { "passed on" } else { "not passed on" };
        parts.push(format!("mapped {as_header} the header says, discards {discards}"));
    }
    let slots = all(luks, "slots").iter().map(|slot| match words(slot, "/source") {
        Some(source) => {
            format!("{} {} ({source})", shown(&slot["number"]), shown(&slot["purpose"]))
        }
        None => format!("{} {}", shown(&slot["number"]), shown(&slot["purpose"])),
    });
    parts.push(format!("slots: {}", slots.collect::<Vec<_>>().join(", ")));
    for bound in all(luks, "tpm2") {
        let pcrs = |name: &str| all(bound, name).iter().map(shown).collect::<Vec<_>>().join("+");
        let unseals = match bound["unseals"].as_bool() {
            Some(true) => ", which unseals it",
            Some(false) => ", which DOES NOT unseal it",
            None => "",
        };
        let signed = pcrs("signed_pcrs");
        let signed = if signed.is_empty() { signed } else { format!(" and signed {signed}") };
        parts.push(format!("bound to the TPM's PCRs {}{signed}{unseals}", pcrs("pcrs")));
    }
    if let Some(by) = words(luks, "/opened/by") {
        parts.push(format!("opened by {by} at {}", shown(&luks["opened"]["at"])));
    }
    if let (Some(done), Some(total)) = (
        luks.pointer("/reencryption/bytes_done").and_then(Value::as_u64),
        luks.pointer("/reencryption/bytes_total").and_then(Value::as_u64),
    ) {
        parts.push(format!("re-encrypted {} %", done.saturating_mul(100) / total.max(1)));
    }
    parts.push(match instant(&luks["header_backup"]) {
        Some(at) => format!("header backup of {at}"),
        None => "NO header backup".into(),
    });
    parts.join("; ")
}

fn all<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_operator_asks_first_is_in_the_line() {
        let luks = json!({
            "volume": "data0", "state": "open", "problem": null,
            "header": {"uuid": "u", "cipher": "aes-xts-plain64", "key_bits": 512,
                       "sector_bytes": 4096, "integrity": null},
            "kernel": {"cipher": "cipher_null", "is_as_header": false, "discards": true,
                       "key_in_keyring": true},
            "slots": [{"number": 0, "purpose": "recovery", "source": null},
                      {"number": 1, "purpose": "machine", "source": "tpm2"}],
            "tpm2": [{"slot": 1, "pcrs": [7], "signed_pcrs": [11], "bank": "sha256",
                      "unseals": false, "problem": "PCR 7 is another"}],
            "opened": {"by": "recovery", "slot": 0, "at": "2026-01-31T12:00:00Z",
                       "tried": ["tpm2: the state of the TPM is another"]},
            "reencryption": {"bytes_done": 1, "bytes_total": 4},
            "header_backup": null,
            "erased": [{"uuid": "old", "erased_at": "2026-01-30T12:00:00Z"}],
        });
        let mut text = Lines::default();
        lines(&mut text, &[luks]);
        for part in [
            "aes-xts-plain64, 512 bits, sectors of 4096 bytes; integrity none",
            "mapped NOT AS the header says, discards passed on",
            "slots: 0 recovery, 1 machine (tpm2)",
            "PCRs 7 and signed 11, which DOES NOT unseal it",
            "opened by recovery at ",
            "re-encrypted 25 %; NO header backup",
            "did not open by tpm2: the state of the TPM is another",
            "data0 (old), at ",
        ] {
            assert!(text.0.contains(part), "{part:?} is missing:\n{}", text.0);
        }
    }
}
