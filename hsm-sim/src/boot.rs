//! What a measured boot writes into the PCRs, for three states of the machine's software.

/// The software a simulated machine boots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// What the box was founded with.
    Good,
    /// Somebody altered the machine's firmware (PCR 0) and the kernel image (PCR 11).
    Altered,
    /// A new release of the box's own image: boot loader (PCR 4) and kernel image (PCR 11) differ.
    Updated,
}

impl Firmware {
    /// The measurements in order: PCR and event.
    pub(crate) fn events(self) -> [(u8, &'static str); 6] {
        let (firmware, loader, kernel) = match self {
            Self::Good => ("firmware 1.0", "boot loader 1", "kernel image 1"),
            Self::Altered => (
                "firmware 1.0 with an implant",
                "boot loader 1",
                "kernel image 1, patched",
            ),
            Self::Updated => ("firmware 1.0", "boot loader 2", "kernel image 2"),
        };
        [
            (0, firmware),
            (4, loader),
            (7, "secure boot on, vendor keys"),
            (7, "signed by the release key"),
            (11, kernel),
            (12, "command line: quiet"),
        ]
    }
}
