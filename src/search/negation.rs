//! "Not this", kept away from a fault of tantivy 0.27: its `Exclude` asks scorers of phrases and
//! conjunctions for documents in front of the one they stand at (`seek_danger`), which those assert
//! against. [`Steady`] answers from `doc` and `seek` alone, as `DocSet`'s own default does.

use tantivy::query::{
    AllQuery, BooleanQuery, EnableScoring, Explanation, Occur, Query, Scorer, Weight,
};
use tantivy::{DocId, DocSet, Score, SegmentReader};

/// Everything but what `query` finds.
#[must_use]
pub fn not(query: Box<dyn Query>) -> Box<dyn Query> {
    let excluded: Box<dyn Query> = Box::new(Steady(query));
    Box::new(BooleanQuery::new(vec![
        (Occur::Must, Box::new(AllQuery)),
        (Occur::MustNot, excluded),
    ]))
}

/// Passes through what it wraps, but for `seek_danger`.
#[derive(Debug)]
struct Steady<T: ?Sized>(Box<T>);

impl Clone for Steady<dyn Query> {
    fn clone(&self) -> Self {
        Self(self.0.box_clone())
    }
}

impl Query for Steady<dyn Query> {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(Steady(self.0.weight(scoring)?)))
    }
}

impl Weight for Steady<dyn Weight> {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        Ok(Box::new(Steady(self.0.scorer(reader, boost)?)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.0.explain(reader, doc)
    }
}

impl Scorer for Steady<dyn Scorer> {
    fn score(&mut self) -> Score {
        self.0.score()
    }
}

impl DocSet for Steady<dyn Scorer> {
    fn advance(&mut self) -> DocId {
        self.0.advance()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.0.seek(target)
    }

    fn doc(&self) -> DocId {
        self.0.doc()
    }

    fn size_hint(&self) -> u32 {
        self.0.size_hint()
    }
}
