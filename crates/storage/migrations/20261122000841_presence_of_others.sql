-- Users of other servers are held present for a while by what their server said last: no replica of ours sees them.

ALTER TABLE presence_holds ADD COLUMN expires_at BIGINT;
COMMENT ON COLUMN presence_holds.expires_at IS 'For users of other servers: until when the hold counts unless their server says more. NULL: as long as the lease of the replica.';
