//! Names in the bytes of a PDF, wherever they stand.

/// Where each occurrence of a name ends, which may be spelt with `#45` for `E`.
pub fn behind<'b>(bytes: &'b [u8], name: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    let end = move |slash: usize| {
        let mut rest = &bytes[slash + 1..];
        let begins = name.iter().all(|wanted| {
            let (length, spelt) = match rest {
                [b'#', high, low, ..] => {
                    let byte = data_encoding::HEXLOWER_PERMISSIVE.decode(&[*high, *low]);
                    (3, byte.ok().and_then(|byte| byte.first().copied()))
                }
                _ => (1, rest.first().copied()),
            };
            rest = rest.get(length..).unwrap_or_default();
            spelt == Some(*wanted)
        });
        let is_whole = begins && !rest.first().is_some_and(|next| is_regular(*next));
        is_whole.then_some(bytes.len() - rest.len())
    };
    memchr::memchr_iter(b'/', bytes).filter_map(end)
}

/// True for what a name can go on with.
pub const fn is_regular(byte: u8) -> bool {
    !matches!(
        byte,
        0 | b'\t'
            | b'\n'
            | 12
            | b'\r'
            | b' '
            | b'('
            | b')'
            | b'<'
            | b'>'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'/'
            | b'%'
    )
}
