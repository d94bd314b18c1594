-- Since when a membership has been the same: what is unread counts from the join on, not from the last change of a name.

ALTER TABLE memberships ADD COLUMN since_position BIGINT;
COMMENT ON COLUMN memberships.since_position IS 'The position at which the membership became what it is; stream_position is that of the newest member event. NULL in rows from before this column: then the latter counts.';
