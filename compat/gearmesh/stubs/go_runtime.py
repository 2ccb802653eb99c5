"""Go code that all constructors and readers share, in two versions."""

from __future__ import annotations

from typing import Final

__all__ = ["MACHINERY", "RESERVED", "STANDARD"]

#: Identifiers of the shared code, which no task may have.
RESERVED: Final = frozenset({"Arg", "Signature", "TaskResult", "TaskState", "ReadState", "Task"})

#: The code with the types of Machinery's package ``tasks``.
MACHINERY: Final = """
func value[T any](values []reflect.Value, index, count int) (T, error) {
	var zero T
	if len(values) != count {
		return zero, fmt.Errorf("%d results, expected %d", len(values), count)
	}
	found, ok := values[index].Interface().(T)
	if !ok {
		return zero, fmt.Errorf("result %d is a %s, expected a %T", index, values[index].Type(), zero)
	}
	return found, nil
}

func checkCount(values []reflect.Value, count int) error {
	if len(values) != count {
		return fmt.Errorf("%d results, expected %d", len(values), count)
	}
	return nil
}
"""

#: The code with types of its own, which follow gearmesh's docs/reference/protocol.md.
STANDARD: Final = """
// Arg is one argument of a task.
type Arg struct {
	Name  string
	Type  string
	Value any
}

// Signature is a message: one call of a task, and its follow-up tasks.
type Signature struct {
	UUID                        string
	Name                        string
	RoutingKey                  string
	ETA                         *time.Time
	GroupUUID                   string
	GroupTaskCount              int
	Args                        []Arg
	Headers                     map[string]any
	Priority                    uint8
	Immutable                   bool
	RetryCount                  int
	RetryTimeout                int
	OnSuccess                   []*Signature
	OnError                     []*Signature
	ChordCallback               *Signature
	BrokerMessageGroupId        string
	SQSReceiptHandle            string
	StopTaskDeletionOnError     bool
	IgnoreWhenTaskNotRegistered bool
}

// Message returns the bytes to put into the queue RoutingKey. It fills in a missing UUID, and queue for a missing
// RoutingKey. A caller that waits for the result stores the PENDING state under UUID first.
func (s *Signature) Message(queue string) ([]byte, error) {
	if s.UUID == "" {
		var random [16]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		random[6] = random[6]&0x0f | 0x40
		random[8] = random[8]&0x3f | 0x80
		s.UUID = fmt.Sprintf("task_%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
	}
	if s.RoutingKey == "" {
		s.RoutingKey = queue
	}
	if s.Headers == nil {
		s.Headers = map[string]any{}
	}
	return json.Marshal(s)
}

// TaskResult is one result of a task.
type TaskResult struct {
	Type  string
	Value json.RawMessage
}

// TaskState is the state of a task, as it is stored under its UUID.
type TaskState struct {
	TaskUUID  string
	TaskName  string
	State     string
	Results   []TaskResult
	Error     string
	CreatedAt time.Time
	TTL       int64
}

// ReadState reads a stored state. It has Results once State is SUCCESS, and an Error once State is FAILURE.
func ReadState(stored []byte) (*TaskState, error) {
	state := new(TaskState)
	if err := json.Unmarshal(stored, state); err != nil {
		return nil, err
	}
	return state, nil
}

func value[T any](values []TaskResult, index, count int, types ...string) (T, error) {
	var found T
	if err := checkCount(values, count); err != nil {
		return found, err
	}
	if len(types) == 0 { // any type is allowed
		types = []string{values[index].Type}
	}
	for _, name := range types {
		if values[index].Type == name {
			err := json.Unmarshal(values[index].Value, &found)
			return found, err
		}
	}
	return found, fmt.Errorf("result %d is a %s, expected a %s", index, values[index].Type, types[0])
}

func checkCount(values []TaskResult, count int) error {
	if len(values) != count {
		return fmt.Errorf("%d results, expected %d", len(values), count)
	}
	return nil
}
"""
