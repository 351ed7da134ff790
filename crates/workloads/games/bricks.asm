; Bricks: a ball, a paddle and eighty bricks. 128x64 pixels.
.title "Bricks"
.about "Break the wall. Left and right move the paddle, the button serves."
.speed 200

paddle = v4         ; x of its left end
ball_x = v5
ball_y = v6
dx = v7             ; -2 to 2
dy = v8             ; -1 or 1
points = v9         ; 0 to 99
hundreds = va       ; of points
lives = vb
bricks = vc         ; left in the wall
level = vd

wall_top = 12
floor = 60          ; y of the paddle

    high
start:
    ld points, 0
    ld hundreds, 0
    ld lives, 3
    ld level, 0

new_wall:
    cls
    call draw_ceiling
    call build_wall
    call draw_score
    call draw_lives
    ld paddle, 56
    call draw_paddle

serve:
    ld ball_x, paddle
    add ball_x, 7
    ld ball_y, floor - 2
    call draw_ball
serve_wait:
    call frame
    call draw_ball
    call move_paddle
    ld ball_x, paddle
    add ball_x, 7
    call draw_ball
    ld v0, button
    sknp v0
    jp served
    jp serve_wait
served:
    ld dy, -1
    rnd dx, 2
    add dx, -1

play:
    call frame
    call move_paddle
    call step_ball
    ; from the second level on, the ball sometimes takes an extra step
    se level, 0
    call hurry
    sne ball_y, 63
    jp lost
    sne bricks, 0
    jp cleared
    jp play

hurry:
    ld i, ticks
    ld v0, [i]
    add v0, 1
    ld [i], v0
    ld v1, 3
    se level, 1
    ld v1, 1
    and v0, v1
    se v0, 0
    ret
    sne ball_y, 63
    ret
    jp step_ball

lost:
    call draw_ball
    ld v3, lives
    call draw_life
    ld v0, 15
    ld st, v0
    add lives, -1
    se lives, 0
    jp serve
    call fall_away
    ; the score again, in large digits
    ld i, digits
    ld b, hundreds
    ld v2, [i]
    ld v3, 46
    ld v0, 16
    ld hf, v1
    drw v3, v0, 10
    add v3, 9
    ld hf, v2
    drw v3, v0, 10
    ld i, digits
    ld b, points
    ld v2, [i]
    ld v3, 64
    ld v0, 16
    ld hf, v1
    drw v3, v0, 10
    add v3, 9
    ld hf, v2
    drw v3, v0, 10
    call the_end
    jp start

cleared:
    add level, 1
    ld v0, 30
    ld st, v0
    jp new_wall

move_paddle:
    ld v1, paddle
    ld v0, left
    sknp v0
    add v1, -3
    ld v0, right
    sknp v0
    add v1, 3
    sne v1, paddle
    ret
    ld v0, 110          ; the rightmost place; left of 0 is more than that
    sub v0, v1
    se vf, 1
    ret
    call draw_paddle
    ld paddle, v1
draw_paddle:            ; keeps v1
    ld v0, paddle
    ld v2, floor
    ld i, paddle_left
    drw v0, v2, 3
    add v0, 8
    ld i, paddle_right
    drw v0, v2, 3
    ret

draw_ball:
    ld i, ball
    drw ball_x, ball_y, 2
    ret

step_ball:
    call draw_ball
    add ball_x, dx
    ld v0, 126
    sub v0, ball_x
    se vf, 1
    call bounce_side
    add ball_y, dy
    sne ball_y, 8
    call bounce_ceiling
    sne ball_y, floor - 1
    call at_paddle
    call at_brick
    jp draw_ball

bounce_side:
    ld v0, 0
    sub v0, dx
    ld dx, v0
    add ball_x, dx
    jp beep

bounce_ceiling:
    ld dy, 1
    ld ball_y, 9
    jp beep

at_paddle:
    ld v0, ball_x
    add v0, 1
    sub v0, paddle
    ld v1, 17
    sub v1, v0
    se vf, 1
    ret                 ; beside it
    shr v0
    ld i, angles
    add i, v0
    ld v0, [i]
    ld dx, v0
    ld dy, -1
    ld ball_y, floor - 2
    jp beep

at_brick:
    ld v0, ball_y
    sne dy, 1
    add v0, 1           ; going down, the lower edge hits
    add v0, 0 - wall_top
    ld v1, 19
    sub v1, v0
    se vf, 1
    ret                 ; not in the wall
    ld v1, v0
    ld v2, 3
    and v1, v2
    sne v1, 3
    ret                 ; between rows
    shr v0
    shr v0
    ld ve, v0           ; the row
    ld v1, ball_x
    shr v1
    shr v1
    shr v1              ; the column
    ld v2, ve
    shl v2
    shl v2
    shl v2
    shl v2
    add v2, v1
    ld i, wall
    add i, v2
    ld v0, [i]
    sne v0, 0
    ret                 ; broken already
    ld i, wall
    add i, v2
    ld v0, 0
    ld [i], v0
    ld v0, v1
    shl v0
    shl v0
    shl v0
    ld v1, ve
    shl v1
    shl v1
    add v1, wall_top
    ld i, brick
    drw v0, v1, 3
    ld v0, 0
    sub v0, dy
    ld dy, v0
    add bricks, -1
    call beep
    ; the top row gives five points, the lowest one
    call draw_score
    ld v0, 5
    sub v0, ve
    add points, v0
    ld v0, 99
    sub v0, points
    se vf, 1
    call carry
    jp draw_score

carry:
    add points, -100
    add hundreds, 1
    ret

draw_ceiling:
    ld v0, 0
    ld v1, 8
    ld i, line
ceiling_more:
    drw v0, v1, 1
    add v0, 8
    se v0, 128
    jp ceiling_more
    ret

build_wall:
    ld bricks, 80
    ld v1, 0
    ld v2, wall_top
    ld i, brick
wall_more:
    drw v1, v2, 3
    add v1, 8
    se v1, 128
    jp wall_more
    ld v1, 0
    add v2, 4
    se v2, wall_top + 20
    jp wall_more
    ld v1, 0
wall_fill:
    ld i, wall
    add i, v1
    ld v0, 1
    ld [i], v0
    add v1, 1
    se v1, 80
    jp wall_fill
    ret

draw_score:
    ld i, digits
    ld b, hundreds
    ld v2, [i]
    ld v3, 2
    ld v0, 1
    ld f, v1
    drw v3, v0, 5
    add v3, 5
    ld f, v2
    drw v3, v0, 5
    ld i, digits
    ld b, points
    ld v2, [i]
    ld v3, 12
    ld v0, 1
    ld f, v1
    drw v3, v0, 5
    add v3, 5
    ld f, v2
    drw v3, v0, 5
    ret

draw_lives:
    ld v3, lives
lives_more:
    call draw_life
    add v3, -1
    se v3, 0
    jp lives_more
    ret

draw_life:              ; number v3, counted from the right
    ld v0, v3
    shl v0
    shl v0
    shl v0
    ld v1, 127
    sub v1, v0
    ld v0, 1
    ld i, heart
    drw v1, v0, 6
    ret

paddle_left:
    db ".#######"
    db "########"
    db ".#######"
paddle_right:
    db "#######."
    db "########"
    db "#######."
ball:
    db "##......"
    db "##......"
brick:
    db "#######."
    db "#######."
    db "#######."
line:
    db "########"
heart:
    db ".##.##.."
    db "#######."
    db "#######."
    db ".#####.."
    db "..###..."
    db "...#...."
angles:
    db -2, -2, -1, -1, 1, 1, 1, 2, 2
ticks:
    db 0
digits:
    ds 3
wall:
    ds 80
