package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/bson"
)

// Document is a task in MongoDB (7.8).
type Document struct {
	TaskUUID  string    `bson:"_id"`
	TaskName  string    `bson:"task_name"`
	State     string    `bson:"state"`
	Results   []Stored  `bson:"results"`
	Error     string    `bson:"error"`
	CreatedAt time.Time `bson:"created_at"`
}

// Stored is one result of a document.
type Stored struct {
	Type  string `bson:"type"`
	Value any    `bson:"value"`
}

// GroupDocument is a group in MongoDB.
type GroupDocument struct {
	GroupUUID      string    `bson:"_id"`
	TaskUUIDs      []string  `bson:"task_uuids"`
	ChordTriggered bool      `bson:"chord_triggered"`
	Lock           bool      `bson:"lock"`
	CreatedAt      time.Time `bson:"created_at"`
}

func readDocument(data []byte) ([]byte, error) {
	var found Document
	if err := bson.Unmarshal(data, &found); err != nil {
		return nil, err
	}
	state := State{
		TaskUUID: found.TaskUUID, TaskName: found.TaskName, State: found.State, Error: found.Error,
		CreatedAt: found.CreatedAt.UTC(),
	}
	if found.Results != nil {
		state.Results = []*Result{}
	}
	for _, each := range found.Results {
		state.Results = append(state.Results, &Result{Type: each.Type, Value: read(each.Type, each.Value)})
	}
	return json.Marshal(state)
}

func writeDocument(state State) (any, error) {
	document := bson.D{
		{Key: "_id", Value: state.TaskUUID}, {Key: "state", Value: state.State},
		{Key: "task_name", Value: state.TaskName}, {Key: "created_at", Value: moment(state.CreatedAt)},
	}
	if state.Results != nil {
		results := []bson.M{}
		for _, each := range state.Results {
			value, err := typed(each)
			if err != nil {
				return nil, err
			}
			kind := each.Type
			if kind == "string" {
				// A text that holds an object of JSON, or null, is stored parsed (7.8).
				object := bson.M{}
				decoder := json.NewDecoder(strings.NewReader(reflect.ValueOf(value).String()))
				if decoder.Decode(&object) == nil {
					kind, value = "json", object
				}
			}
			results = append(results, bson.M{"type": kind, "value": value})
		}
		document = append(document, bson.E{Key: "results", Value: results})
	}
	if state.Error != "" {
		document = append(document, bson.E{Key: "error", Value: state.Error})
	}
	return document, nil
}

func moment(given time.Time) time.Time {
	if *plant == "ms" {
		return given.Truncate(time.Second)
	}
	return given
}

func readGroupDocument(data []byte) ([]byte, error) {
	var found GroupDocument
	if err := bson.Unmarshal(data, &found); err != nil {
		return nil, err
	}
	return json.Marshal(Group{
		GroupUUID: found.GroupUUID, TaskUUIDs: found.TaskUUIDs, ChordTriggered: found.ChordTriggered,
		Lock: found.Lock, CreatedAt: found.CreatedAt.UTC(),
	})
}

func writeGroupDocument(group Group) (any, error) {
	return bson.D{
		{Key: "_id", Value: group.GroupUUID}, {Key: "task_uuids", Value: group.TaskUUIDs},
		{Key: "chord_triggered", Value: group.ChordTriggered}, {Key: "lock", Value: group.Lock},
		{Key: "created_at", Value: moment(group.CreatedAt)},
	}, nil
}
