-- Serves the sweep that deletes rooms a day after they were closed, a batch at a time.
CREATE INDEX rooms_closed ON rooms (closed_at_ms) WHERE closed_at_ms IS NOT NULL;
