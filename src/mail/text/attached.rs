//! What a reader sees as an attachment.

use crate::mail::header::ContentType;
use crate::mail::mime::Part;

/// True if the part is an attachment: it says so, has a file's name, or is a forwarded message. Signatures and the
/// parts of which encrypted mail is made are none. `parent` is what it lies in.
pub fn is_attachment(part: &Part, name: &str, parent: Option<&Part>) -> bool {
    let content_type = &part.content_type;
    let in_encrypted = parent.is_some_and(|parent| parent.content_type.is("multipart/encrypted"));
    let is_whole_mail = parent.is_none() && content_type.subtype.contains("pkcs7");
    if part.is_multipart() || in_encrypted || is_whole_mail || is_signature(content_type, name) {
        return false;
    }
    if content_type.is_message() {
        return !is_wrapper(part);
    }
    let says = part.disposition.as_ref();
    !name.is_empty() || says.is_some_and(|says| says.kind == "attachment")
}

/// True for a message that is wrapped to protect its header, not forwarded (RFC 8551, section 3.1).
pub fn is_wrapper(part: &Part) -> bool {
    part.content_type.is_message() && part.content_type.parameter("forwarded") == Some("no")
}

fn is_signature(content_type: &ContentType, name: &str) -> bool {
    let lower = name.to_lowercase();
    let is_declared = content_type.kind == "application"
        && matches!(
            content_type.subtype.as_str(),
            "pkcs7-signature" | "x-pkcs7-signature" | "pgp-signature" | "pgp-encrypted"
        );
    is_declared || lower.ends_with(".p7s") || lower == "signature.asc"
}
