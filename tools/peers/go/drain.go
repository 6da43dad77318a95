package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nsqio/go-nsq"
)

// drain finishes N messages, does nothing with them, and prints how many a second that were, from the first to the last.
func drain(config *nsq.Config) error {
	config.MaxInFlight = 2500
	consumer, err := nsq.NewConsumer(*topic, *channel, config)
	if err != nil {
		return err
	}
	consumer.SetLoggerLevel(nsq.LogLevelWarning)
	var finished atomic.Int64
	var begun atomic.Int64
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		begun.CompareAndSwap(0, time.Now().UnixNano())
		// By hand: what is counted was handed to the connection.
		message.DisableAutoResponse()
		message.Finish()
		if finished.Add(1) == int64(*count) {
			elapsed := time.Duration(time.Now().UnixNano() - begun.Load())
			fmt.Printf("%.0f\n", float64(*count)/elapsed.Seconds())
			consumer.Stop()
		}
		return nil
	}))
	if err := consumer.ConnectToNSQD(*address); err != nil {
		return err
	}
	<-consumer.StopChan
	return nil
}
