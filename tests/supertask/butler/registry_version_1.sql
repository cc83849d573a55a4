-- A registry as schema version 1 laid it out, of the unit model imaging: 3 visits by 2 detectors, raws
-- in a run, two of them tagged, a chain of both. Made by that version, and never to be changed.
BEGIN TRANSACTION;
CREATE TABLE collection (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	doc TEXT NOT NULL, 
	provenance TEXT, 
	UNIQUE (name)
);
INSERT INTO "collection" VALUES(1,'run','run','',NULL);
INSERT INTO "collection" VALUES(2,'best','tagged','',NULL);
INSERT INTO "collection" VALUES(3,'all','chained','',NULL);
CREATE TABLE collection_child (
	parent_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	child_id INTEGER NOT NULL, 
	PRIMARY KEY (parent_id, position), 
	FOREIGN KEY(parent_id) REFERENCES collection (id) ON DELETE CASCADE, 
	FOREIGN KEY(child_id) REFERENCES collection (id)
);
INSERT INTO "collection_child" VALUES(3,0,2);
INSERT INTO "collection_child" VALUES(3,1,1);
CREATE TABLE collection_type (
	type_id INTEGER NOT NULL, 
	collection_id INTEGER NOT NULL, 
	PRIMARY KEY (type_id, collection_id), 
	FOREIGN KEY(type_id) REFERENCES dataset_type (id) ON DELETE CASCADE, 
	FOREIGN KEY(collection_id) REFERENCES collection (id) ON DELETE CASCADE
);
INSERT INTO "collection_type" VALUES(1,1);
INSERT INTO "collection_type" VALUES(1,2);
CREATE TABLE dataset_1 (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id INTEGER NOT NULL, 
	exposure_id INTEGER NOT NULL, 
	detector_id INTEGER NOT NULL, 
	identity BLOB NOT NULL, 
	location TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	checksum TEXT NOT NULL, 
	UNIQUE (exposure_id, run_id, detector_id), 
	FOREIGN KEY(run_id) REFERENCES collection (id) ON DELETE CASCADE
);
INSERT INTO "dataset_1" VALUES(1,1,1,1,X'00000000000000000000000000000000','run/raw/101_0.json',2,'');
INSERT INTO "dataset_1" VALUES(2,1,1,2,X'00000000000000000000000000000001','run/raw/101_1.json',2,'');
INSERT INTO "dataset_1" VALUES(3,1,2,1,X'00000000000000000000000000000002','run/raw/102_0.json',2,'');
INSERT INTO "dataset_1" VALUES(4,1,2,2,X'00000000000000000000000000000003','run/raw/102_1.json',2,'');
INSERT INTO "dataset_1" VALUES(5,1,3,1,X'00000000000000000000000000000004','run/raw/103_0.json',2,'');
INSERT INTO "dataset_1" VALUES(6,1,3,2,X'00000000000000000000000000000005','run/raw/103_1.json',2,'');
CREATE TABLE dataset_type (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name TEXT NOT NULL, 
	units TEXT NOT NULL, 
	storage TEXT NOT NULL, 
	doc TEXT NOT NULL, 
	UNIQUE (name)
);
INSERT INTO "dataset_type" VALUES(1,'raw','["exposure", "detector"]','json','');
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('unit_model','{"name": "imaging", "version": 1, "doc": "Exposures of cameras with several detectors, and a sky divided into tracts and patches.", "units": {"instrument": {"key": "str", "doc": "A camera, with its telescope."}, "physical_filter": {"key": "str", "parents": ["instrument"], "implies": ["band"], "doc": "A piece of glass of one instrument."}, "visit": {"key": "int", "parents": ["instrument"], "implies": ["physical_filter"], "doc": "One pointing at the sky; one or more exposures that are processed together.", "fields": {"obs_time": {"kind": "time", "doc": "Middle of the visit."}, "exposure_time": {"kind": "float", "unit": "s", "doc": "Open shutter, all exposures together."}, "ra": {"kind": "float", "unit": "deg", "doc": "Right ascension of the pointing, ICRS."}, "dec": {"kind": "float", "unit": "deg", "doc": "Declination of the pointing, ICRS."}, "airmass": {"kind": "float", "doc": "Mean airmass."}, "object": {"kind": "str", "doc": "Name of the target."}, "night": {"kind": "str", "doc": "Date of the night at its beginning, local time, such as 2026-01-05."}}}, "exposure": {"key": "int", "parents": ["instrument"], "implies": ["physical_filter", "visit"], "doc": "One readout of all detectors. A bias or dark has neither filter nor visit.", "fields": {"obs_type": {"kind": "str", "doc": "science, bias, dark, flat, arc, \u2026"}, "obs_time": {"kind": "time", "doc": "Middle of the exposure."}, "exposure_time": {"kind": "float", "unit": "s", "doc": "Open shutter."}, "dark_time": {"kind": "float", "unit": "s", "doc": "From one readout to the next, where it is not the exposure time."}, "ra": {"kind": "float", "unit": "deg", "doc": "Right ascension of the pointing, ICRS."}, "dec": {"kind": "float", "unit": "deg", "doc": "Declination of the pointing, ICRS."}, "airmass": {"kind": "float", "doc": "Airmass in the middle of the exposure."}, "object": {"kind": "str", "doc": "Name of the target."}, "night": {"kind": "str", "doc": "Date of the night at its beginning, local time, such as 2026-01-05."}}}, "detector": {"key": "int", "parents": ["instrument"], "doc": "One CCD or other sensor of an instrument.", "fields": {"full_name": {"kind": "str", "doc": "Name that the instrument''s makers use."}, "purpose": {"kind": "str", "doc": "science, guide, focus, \u2026"}}}, "skymap": {"key": "str", "doc": "A division of the sky."}, "tract": {"key": "int", "parents": ["skymap"], "doc": "A large piece of sky with one projection."}, "patch": {"key": "int", "parents": ["tract"], "doc": "A rectangle of a tract, as large as a coadd in memory may be.", "fields": {"x": {"kind": "int", "doc": "Column within the tract, from 0."}, "y": {"kind": "int", "doc": "Row within the tract, from 0."}}}, "band": {"key": "str", "doc": "A passband regardless of instrument: u, g, r, \u2026"}}, "relations": {"overlap": {"kind": "spatial", "left": ["visit", "detector"], "right": ["patch"], "doc": "Detectors of visits whose footprint on the sky overlaps that of a patch."}}}');
INSERT INTO "meta" VALUES('catalog','9f4cb13ee6538747');
CREATE TABLE relation_overlap (
	id INTEGER NOT NULL, 
	visit_id INTEGER NOT NULL, 
	detector_id INTEGER NOT NULL, 
	patch_id INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (visit_id, detector_id, patch_id)
);
CREATE TABLE tag_1 (
	id INTEGER NOT NULL, 
	collection_id INTEGER NOT NULL, 
	exposure_id INTEGER NOT NULL, 
	detector_id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (exposure_id, collection_id, detector_id), 
	FOREIGN KEY(collection_id) REFERENCES collection (id) ON DELETE CASCADE, 
	FOREIGN KEY(dataset_id) REFERENCES dataset_1 (id) ON DELETE CASCADE
);
INSERT INTO "tag_1" VALUES(1,2,1,1,1);
INSERT INTO "tag_1" VALUES(2,2,1,2,2);
CREATE TABLE unit_band (
	id INTEGER NOT NULL, 
	band TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (band)
);
INSERT INTO "unit_band" VALUES(1,'r');
CREATE TABLE unit_detector (
	id INTEGER NOT NULL, 
	instrument_id INTEGER NOT NULL, 
	detector BIGINT NOT NULL, 
	full_name TEXT, 
	purpose TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (instrument_id, detector)
);
INSERT INTO "unit_detector" VALUES(1,1,0,NULL,NULL);
INSERT INTO "unit_detector" VALUES(2,1,1,NULL,NULL);
CREATE TABLE unit_exposure (
	id INTEGER NOT NULL, 
	instrument_id INTEGER NOT NULL, 
	exposure BIGINT NOT NULL, 
	physical_filter_id INTEGER, 
	visit_id INTEGER, 
	obs_type TEXT, 
	obs_time BIGINT, 
	exposure_time DOUBLE, 
	dark_time DOUBLE, 
	ra DOUBLE, 
	dec DOUBLE, 
	airmass DOUBLE, 
	object TEXT, 
	night TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (instrument_id, exposure)
);
INSERT INTO "unit_exposure" VALUES(1,1,101,1,1,'science',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "unit_exposure" VALUES(2,1,102,1,2,'science',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "unit_exposure" VALUES(3,1,103,1,3,'science',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE unit_instrument (
	id INTEGER NOT NULL, 
	instrument TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (instrument)
);
INSERT INTO "unit_instrument" VALUES(1,'Cam');
CREATE TABLE unit_patch (
	id INTEGER NOT NULL, 
	tract_id INTEGER NOT NULL, 
	patch BIGINT NOT NULL, 
	x BIGINT, 
	y BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (tract_id, patch)
);
CREATE TABLE unit_physical_filter (
	id INTEGER NOT NULL, 
	instrument_id INTEGER NOT NULL, 
	physical_filter TEXT NOT NULL, 
	band_id INTEGER, 
	PRIMARY KEY (id), 
	UNIQUE (instrument_id, physical_filter)
);
INSERT INTO "unit_physical_filter" VALUES(1,1,'R1',1);
CREATE TABLE unit_skymap (
	id INTEGER NOT NULL, 
	skymap TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (skymap)
);
CREATE TABLE unit_tract (
	id INTEGER NOT NULL, 
	skymap_id INTEGER NOT NULL, 
	tract BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (skymap_id, tract)
);
CREATE TABLE unit_visit (
	id INTEGER NOT NULL, 
	instrument_id INTEGER NOT NULL, 
	visit BIGINT NOT NULL, 
	physical_filter_id INTEGER, 
	obs_time BIGINT, 
	exposure_time DOUBLE, 
	ra DOUBLE, 
	dec DOUBLE, 
	airmass DOUBLE, 
	object TEXT, 
	night TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (instrument_id, visit)
);
INSERT INTO "unit_visit" VALUES(1,1,1,1,NULL,30.0,NULL,NULL,1.1,NULL,NULL);
INSERT INTO "unit_visit" VALUES(2,1,2,1,NULL,30.0,NULL,NULL,1.2,NULL,NULL);
INSERT INTO "unit_visit" VALUES(3,1,3,1,NULL,30.0,NULL,NULL,1.3,NULL,NULL);
CREATE TABLE validity_1 (
	id INTEGER NOT NULL, 
	collection_id INTEGER NOT NULL, 
	exposure_id INTEGER NOT NULL, 
	detector_id INTEGER NOT NULL, 
	dataset_id INTEGER NOT NULL, 
	"begin" BIGINT NOT NULL, 
	"end" BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(collection_id) REFERENCES collection (id) ON DELETE CASCADE, 
	FOREIGN KEY(dataset_id) REFERENCES dataset_1 (id) ON DELETE CASCADE
);
CREATE INDEX unit_physical_filter_by_physical_filter ON unit_physical_filter (physical_filter);
CREATE INDEX unit_physical_filter_by_band ON unit_physical_filter (band_id);
CREATE INDEX unit_visit_by_physical_filter ON unit_visit (physical_filter_id);
CREATE INDEX unit_visit_by_object ON unit_visit (object);
CREATE INDEX unit_visit_by_obs_time ON unit_visit (obs_time);
CREATE INDEX unit_visit_by_visit ON unit_visit (visit);
CREATE INDEX unit_visit_by_night ON unit_visit (night);
CREATE INDEX unit_exposure_by_obs_type ON unit_exposure (obs_type);
CREATE INDEX unit_exposure_by_obs_time ON unit_exposure (obs_time);
CREATE INDEX unit_exposure_by_physical_filter ON unit_exposure (physical_filter_id);
CREATE INDEX unit_exposure_by_visit ON unit_exposure (visit_id);
CREATE INDEX unit_exposure_by_object ON unit_exposure (object);
CREATE INDEX unit_exposure_by_night ON unit_exposure (night);
CREATE INDEX unit_exposure_by_exposure ON unit_exposure (exposure);
CREATE INDEX unit_detector_by_full_name ON unit_detector (full_name);
CREATE INDEX unit_detector_by_detector ON unit_detector (detector);
CREATE INDEX unit_detector_by_purpose ON unit_detector (purpose);
CREATE INDEX unit_tract_by_tract ON unit_tract (tract);
CREATE INDEX unit_patch_by_patch ON unit_patch (patch);
CREATE INDEX relation_overlap_by_patch ON relation_overlap (patch_id);
CREATE INDEX relation_overlap_by_detector ON relation_overlap (detector_id);
CREATE INDEX ix_collection_type_collection_id ON collection_type (collection_id);
CREATE INDEX dataset_1_by_detector ON dataset_1 (detector_id, run_id);
CREATE INDEX ix_dataset_1_run_id ON dataset_1 (run_id);
CREATE INDEX ix_tag_1_dataset_id ON tag_1 (dataset_id);
CREATE INDEX ix_tag_1_collection_id ON tag_1 (collection_id);
CREATE INDEX tag_1_by_detector ON tag_1 (detector_id, collection_id);
CREATE INDEX validity_1_by_detector ON validity_1 (detector_id, collection_id);
CREATE INDEX ix_validity_1_dataset_id ON validity_1 (dataset_id);
CREATE INDEX validity_1_by_exposure ON validity_1 (exposure_id, collection_id);
CREATE INDEX ix_validity_1_collection_id ON validity_1 (collection_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('collection',3);
INSERT INTO "sqlite_sequence" VALUES('dataset_type',1);
INSERT INTO "sqlite_sequence" VALUES('dataset_1',6);
COMMIT;
