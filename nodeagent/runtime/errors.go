package runtime

import (
	"errors"
	"fmt"
)

// Outcomes that callers tell apart with errors.Is.
var (
	ErrNotFound      = errors.New("not found")
	ErrImageNotFound = errors.New("image not found")
	ErrInvalidImage  = errors.New("invalid image")
	ErrInvalid       = errors.New("invalid request")
	ErrUnsupported   = errors.New("not supported by this runtime")
	ErrNoAddress     = errors.New("no free pod address")
	ErrTemporary     = errors.New("temporarily unavailable")
)

// Reasons as Kubernetes shows them in a container's status.
const (
	ReasonPull         = "ErrImagePull"
	ReasonInvalidImage = "InvalidImageName"
	ReasonNeverPull    = "ErrImageNeverPull"
	ReasonSandbox      = "CreatePodSandboxError"
	ReasonConfig       = "CreateContainerConfigError" // the spec cannot be turned into a container
	ReasonCreate       = "CreateContainerError"       // the container could not be made
	ReasonRun          = "RunContainerError"
	ReasonStart        = "StartError" // it was made, but its command could not be started
)

// Error is an outcome with a name that people can look up and a message that
// they can act on.
type Error struct {
	Reason   string // one of the Reason constants
	Message  string // a sentence without ids and addresses of the runtime
	ExitCode int    // what stands in for an exit code: 128 for a failed start, 126 or 127 of an exec; 0: none
	Err      error  // the cause, for errors.Is; may be nil
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

func (e *Error) Unwrap() error { return e.Err }

// Describe names an outcome for people: the reason and message of the [*Error]
// in err, or otherwise a reason that fits what its cause is known as, or the
// given one.
func Describe(err error, otherwise string) (reason, message string) {
	var named *Error
	switch {
	case errors.As(err, &named):
		return named.Reason, named.Message
	case errors.Is(err, ErrInvalidImage):
		return ReasonInvalidImage, err.Error()
	case errors.Is(err, ErrImageNotFound):
		return ReasonPull, err.Error()
	default:
		return otherwise, err.Error()
	}
}
