package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/bson/primitive"
)

// Attribute is an attribute value as DynamoDB's API has it: one of its fields is set.
type Attribute struct {
	S    *string              `json:",omitempty"`
	N    *string              `json:",omitempty"`
	BOOL *bool                `json:",omitempty"`
	NULL *bool                `json:",omitempty"`
	B    []byte               `json:",omitzero"`
	L    []Attribute          `json:",omitzero"`
	M    map[string]Attribute `json:",omitempty"`
}

// Item is an item of DynamoDB (7.9).
type Item map[string]Attribute

func readItem(data []byte) ([]byte, error) {
	var item Item
	if err := json.Unmarshal(data, &item); err != nil {
		return nil, err
	}
	created, err := item.moment()
	if err != nil {
		return nil, err
	}
	state := State{
		TaskUUID: item.text("TaskUUID"), TaskName: item.text("TaskName"), State: item.text("State"),
		Error: item.text("Error"), CreatedAt: created,
	}
	for _, each := range item["Results"].L {
		result := Item(each.M)
		name := result.text("Type")
		state.Results = append(state.Results, &Result{Type: name, Value: readAttribute(name, result["Value"])})
	}
	return json.Marshal(state)
}

func (item Item) text(name string) string {
	if found := item[name].S; found != nil {
		return *found
	}
	return ""
}

func (item Item) flag(name string) bool {
	found := item[name].BOOL
	return found != nil && *found
}

func (item Item) moment() (time.Time, error) {
	if item["CreatedAt"].S == nil {
		return time.Time{}, nil
	}
	found, err := time.Parse(time.RFC3339, item.text("CreatedAt"))
	return found.UTC(), err
}

// readAttribute reads a typed attribute. Text is that of a scalar: numbers that no number of DynamoDB's holds are
// written so, and Go writes all values so.
func readAttribute(name string, attribute Attribute) json.RawMessage {
	value := attribute.value()
	if strings.HasPrefix(name, "float") || strings.HasPrefix(name, "[]float") {
		value = numbers(value)
	}
	return read(name, value)
}

func numbers(value any) any {
	switch v := value.(type) {
	case string:
		return number(v)
	case primitive.A:
		for i, each := range v {
			v[i] = numbers(each)
		}
	}
	return value
}

func (attribute Attribute) value() any {
	switch {
	case attribute.S != nil:
		return *attribute.S
	case attribute.N != nil:
		if *plant == "number" {
			double, _ := strconv.ParseFloat(*attribute.N, 64)
			return double
		}
		return number(*attribute.N)
	case attribute.BOOL != nil:
		return *attribute.BOOL
	case attribute.B != nil:
		return attribute.B
	case attribute.NULL != nil:
		return nil
	}
	list := primitive.A{}
	for _, each := range attribute.L {
		list = append(list, each.value())
	}
	return list
}

func writeItem(state State) (any, error) {
	item := Item{
		"TaskUUID": text(state.TaskUUID), "TaskName": text(state.TaskName), "State": text(state.State),
		"Error": text(state.Error), "CreatedAt": text(state.CreatedAt.Format(time.RFC3339Nano)), "TTL": digits(state.TTL),
		"Results": null(),
	}
	if state.Error == "" {
		item["Error"] = null() // the old client of Go
	}
	if len(state.Results) > 0 {
		list := []Attribute{}
		for _, each := range state.Results {
			value, err := typed(each)
			if err != nil {
				return nil, err
			}
			list = append(list, Attribute{M: Item{"Type": text(each.Type), "Value": text(printed(value))}})
		}
		item["Results"] = Attribute{L: list}
	}
	return item, nil
}

// printed is the text that Go stores of every value.
func printed(value any) string {
	found := fmt.Sprintf("%v", value)
	if *plant == "comma" && reflect.TypeOf(value).Kind() == reflect.Slice {
		return strings.ReplaceAll(found, " ", ",")
	}
	return found
}

func text(given string) Attribute { return Attribute{S: &given} }

func digits(given int64) Attribute {
	found := strconv.FormatInt(given, 10)
	return Attribute{N: &found}
}

func flagged(given bool) Attribute { return Attribute{BOOL: &given} }

func null() Attribute {
	yes := true
	return Attribute{NULL: &yes}
}

func readGroupItem(data []byte) ([]byte, error) {
	var item Item
	if err := json.Unmarshal(data, &item); err != nil {
		return nil, err
	}
	created, err := item.moment()
	if err != nil {
		return nil, err
	}
	group := Group{
		GroupUUID: item.text("GroupUUID"), TaskUUIDs: []string{}, ChordTriggered: item.flag("ChordTriggered"),
		Lock: item.flag("Lock"), CreatedAt: created,
	}
	for _, each := range item["TaskUUIDs"].L {
		group.TaskUUIDs = append(group.TaskUUIDs, *each.S)
	}
	return json.Marshal(group)
}

func writeGroupItem(group Group) (any, error) {
	members := []Attribute{}
	for _, each := range group.TaskUUIDs {
		members = append(members, text(each))
	}
	return Item{
		"GroupUUID": text(group.GroupUUID), "TaskUUIDs": {L: members}, "ChordTriggered": flagged(group.ChordTriggered),
		"Lock": flagged(group.Lock), "CreatedAt": text(group.CreatedAt.Format(time.RFC3339Nano)), "TTL": digits(group.TTL),
	}, nil
}
