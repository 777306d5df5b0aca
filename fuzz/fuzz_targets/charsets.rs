#![no_main]

libfuzzer_sys::fuzz_target!(
    init: strongroom_fuzz::tolerate_caught_panics(),
    |input: &[u8]| strongroom_fuzz::named("charsets")(input)
);
