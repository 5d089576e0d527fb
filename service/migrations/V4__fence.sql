-- A database that was restored, or whose standby took over, may have forgotten that packages were handed out. Each fence is a
-- moment before which that may be so. The newest row also says which history the database has: PostgreSQL's identifier of the
-- cluster, and its timeline, which a promotion or a recovery to a point in time changes.
CREATE TABLE fence (
    number            integer     NOT NULL PRIMARY KEY,
    raised_at         timestamptz NOT NULL,
    cause             text        NOT NULL,
    system_identifier bigint,
    timeline          integer,
    -- Set if nothing was forgotten: the fence keeps nothing back.
    lifted_at         timestamptz
);

-- How far each replica knows that the database has come. A database that has less is an older one.
CREATE TABLE beat (
    replica   text        NOT NULL COLLATE "C" PRIMARY KEY,
    number    bigint      NOT NULL,
    beaten_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The newest fence when the device vouched for the package, by its upload or by a reconcile. One that is older than a fence that
-- is up is quarantined: nobody gets it.
ALTER TABLE one_time ADD COLUMN fence integer NOT NULL DEFAULT 0;

-- The oldest schema that a service must know to serve this database. A migration that takes something away from older versions
-- raises it; one that only adds does not, so that these may still start.
CREATE TABLE served_schema (
    one   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    least integer NOT NULL
);
INSERT INTO served_schema (least) VALUES (4);
