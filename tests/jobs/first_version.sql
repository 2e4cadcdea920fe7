PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempts (
	uid VARCHAR NOT NULL,
	job_id VARCHAR NOT NULL,
	number INTEGER NOT NULL,
	engine_ref VARCHAR NOT NULL,
	fence INTEGER NOT NULL,
	node VARCHAR NOT NULL,
	devices TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	launched_at FLOAT,
	started_at FLOAT,
	heartbeat_at FLOAT,
	pid INTEGER,
	ended_at FLOAT,
	outcome VARCHAR DEFAULT '' NOT NULL,
	message TEXT DEFAULT '' NOT NULL,
	exit_code INTEGER,
	cleaned_at FLOAT,
	PRIMARY KEY (uid),
	UNIQUE (job_id, number),
	FOREIGN KEY(job_id) REFERENCES jobs (id),
	UNIQUE (engine_ref)
);
INSERT INTO "attempts" VALUES('0t47yrk45y','0c8n0v1a01',1,'0c8n0v1a01-a1-0t47yrk45y',1,'n','["cpu:0"]',2.0,3.0,3.0,NULL,41,9.0,'succeeded','',0,9.5);
INSERT INTO "attempts" VALUES('0t47yrkx45','0c8n0v1b02',1,'0c8n0v1b02-a1-0t47yrkx45',1,'n','["cpu:0", "cpu:1"]',10.0,11.0,11.0,NULL,42,NULL,'','',NULL,NULL);
CREATE TABLE events (
	id INTEGER NOT NULL,
	job_id VARCHAR NOT NULL,
	at FLOAT NOT NULL,
	"before" VARCHAR NOT NULL,
	"after" VARCHAR NOT NULL,
	who VARCHAR NOT NULL,
	why TEXT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES(1,'0c8n0v1a01',1.0,'','queued','ada','submitted');
INSERT INTO "events" VALUES(2,'0c8n0v1a01',2.0,'queued','admitted','scheduler','placed on cpu:0');
INSERT INTO "events" VALUES(3,'0c8n0v1a01',3.0,'admitted','starting','server','the worker was started');
INSERT INTO "events" VALUES(4,'0c8n0v1a01',3.0,'starting','running','worker','the ranks run');
INSERT INTO "events" VALUES(5,'0c8n0v1a01',9.0,'running','succeeded','worker','every rank exited with code 0');
INSERT INTO "events" VALUES(6,'0c8n0v1b02',1.0,'','queued','ada','submitted');
INSERT INTO "events" VALUES(7,'0c8n0v1b02',10.0,'queued','admitted','scheduler','placed on cpu:0–1');
INSERT INTO "events" VALUES(8,'0c8n0v1b02',11.0,'admitted','starting','server','the worker was started');
INSERT INTO "events" VALUES(9,'0c8n0v1b02',11.0,'starting','running','worker','the ranks run');
INSERT INTO "events" VALUES(10,'0c8n0v1c03',1.0,'','queued','ada','submitted');
CREATE TABLE jobs (
	id VARCHAR NOT NULL,
	"key" VARCHAR NOT NULL,
	version INTEGER NOT NULL,
	state VARCHAR NOT NULL,
	reason TEXT NOT NULL,
	name VARCHAR NOT NULL,
	user VARCHAR NOT NULL,
	priority INTEGER NOT NULL,
	spec TEXT NOT NULL,
	code VARCHAR NOT NULL,
	cwd VARCHAR NOT NULL,
	submit_dir VARCHAR NOT NULL,
	gpus INTEGER NOT NULL,
	gpu_model VARCHAR NOT NULL,
	gpu_memory_bytes INTEGER NOT NULL,
	cpus INTEGER NOT NULL,
	ranks INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	fence INTEGER NOT NULL,
	created_at FLOAT NOT NULL,
	started_at FLOAT,
	ended_at FLOAT,
	exit_code INTEGER,
	PRIMARY KEY (id),
	UNIQUE ("key")
);
INSERT INTO "jobs" VALUES('0c8n0v1a01','key-0c8n0v1a01',5,'succeeded','','digits','ada',50,'{"name":"","script":null,"command":["true"],"args":[],"python":"python3","vars":{},"gpus":null,"cpus":null,"ranks":null,"time":null,"priority":50}','','/','/',0,'',0,1,1,1,1,1.0,3.0,9.0,0);
INSERT INTO "jobs" VALUES('0c8n0v1b02','key-0c8n0v1b02',4,'running','','streets','ada',50,'{"name":"","script":null,"command":["true"],"args":[],"python":"python3","vars":{},"gpus":null,"cpus":null,"ranks":null,"time":null,"priority":50}','','/','/',0,'',0,2,1,1,1,1.0,11.0,NULL,NULL);
INSERT INTO "jobs" VALUES('0c8n0v1c03','key-0c8n0v1c03',1,'queued','','later','ada',50,'{"name":"","script":null,"command":["true"],"args":[],"python":"python3","vars":{},"gpus":null,"cpus":null,"ranks":null,"time":null,"priority":50}','','/','/',0,'',0,1,1,0,0,1.0,NULL,NULL,NULL);
CREATE TABLE leases (
	id INTEGER NOT NULL,
	node VARCHAR NOT NULL,
	device VARCHAR NOT NULL,
	job_id VARCHAR NOT NULL,
	attempt_uid VARCHAR NOT NULL,
	acquired_at FLOAT NOT NULL,
	released_at FLOAT,
	PRIMARY KEY (id),
	FOREIGN KEY(job_id) REFERENCES jobs (id),
	FOREIGN KEY(attempt_uid) REFERENCES attempts (uid)
);
INSERT INTO "leases" VALUES(1,'n','cpu:0','0c8n0v1a01','0t47yrk45y',2.0,9.0);
INSERT INTO "leases" VALUES(2,'n','cpu:0','0c8n0v1b02','0t47yrkx45',10.0,NULL);
INSERT INTO "leases" VALUES(3,'n','cpu:1','0c8n0v1b02','0t47yrkx45',10.0,NULL);
CREATE INDEX ix_jobs_ended_at ON jobs (ended_at);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX attempts_open ON attempts (cleaned_at) WHERE cleaned_at IS NULL;
CREATE INDEX ix_events_job_id ON events (job_id);
CREATE UNIQUE INDEX leases_held ON leases (node, device) WHERE released_at IS NULL;
CREATE INDEX ix_leases_attempt_uid ON leases (attempt_uid);
COMMIT;
