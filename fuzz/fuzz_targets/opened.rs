#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        strongroom_fuzz::tolerate_caught_panics();
        // The keys are read and unlocked now, which no input takes the blame for.
        strongroom_fuzz::named("opened")(b"");
    },
    |input: &[u8]| strongroom_fuzz::named("opened")(input)
);
