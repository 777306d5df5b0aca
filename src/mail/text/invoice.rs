//! Structured e-invoices (EN 16931): told by their namespace, named by their profile.

/// Bytes at the beginning of the text in which namespace and profile stand.
const WINDOW: usize = 16 << 10;

/// The name of the e-invoice format that `xml` is: "XRechnung", "Factur-X" (the same as ZUGFeRD 2), "ZUGFeRD 1" or
/// "EN 16931", with its syntax. What a PDF carries of EN 16931 is Factur-X, whether or not the profile says so.
#[must_use]
pub fn detect(xml: &str, in_pdf: bool) -> Option<String> {
    let start = &xml[..xml.floor_char_boundary(WINDOW)];
    let syntax = if start.contains("urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100") {
        "CII"
    } else if start.contains("urn:oasis:names:specification:ubl:schema:xsd:Invoice-2")
        || start.contains("urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2")
    {
        "UBL"
    } else if start.contains("urn:ferd:CrossIndustryDocument:invoice:1p0") {
        return Some("ZUGFeRD 1".to_owned());
    } else {
        return None;
    };
    let lower = start.to_lowercase();
    let profile = if lower.contains("xrechnung") || lower.contains("xoev-de:kosit") {
        "XRechnung"
    } else if lower.contains("factur-x") || lower.contains("zugferd") || in_pdf && syntax == "CII" {
        "Factur-X/ZUGFeRD"
    } else {
        "EN 16931"
    };
    Some(format!("{profile} ({syntax})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let cii = "<rsm:CrossIndustryInvoice xmlns:rsm=\"urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100\"><ram:ID>urn:cen.eu:en16931:2017#compliant#urn:factur-x.eu:1p0:basic</ram:ID>";
        assert_eq!(
            detect(cii, false).as_deref(),
            Some("Factur-X/ZUGFeRD (CII)")
        );
        let plain = cii.replace("#compliant#urn:factur-x.eu:1p0:basic", "");
        assert_eq!(detect(&plain, false).as_deref(), Some("EN 16931 (CII)"));
        assert_eq!(
            detect(&plain, true).as_deref(),
            Some("Factur-X/ZUGFeRD (CII)")
        );
        let ubl = "<Invoice xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\"><cbc:CustomizationID>urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0</cbc:CustomizationID>";
        assert_eq!(detect(ubl, true).as_deref(), Some("XRechnung (UBL)"));
        assert_eq!(detect("<html>", false), None);
    }
}
